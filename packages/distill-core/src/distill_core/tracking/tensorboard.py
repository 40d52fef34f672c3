"""TensorBoard event files in the run directory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from distill_core.errors import ConfigError, Problem
from distill_core.redaction import redact_text


class TensorBoardTracker:
    """Scalars and the run's YAML as text. Videos stay mp4 files in the run directory: TensorBoard cannot play them.

    What an earlier process wrote of ``first_step`` and later steps is hidden: it is about to be made again.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                [Problem("tracking.trackers", "tensorboard is not installed; pip install 'distill-core[tensorboard]'")]
            ) from error
        self._open = partial(SummaryWriter, str(folder))
        self.writer = self._open(purge_step=first_step)
        self._usual_hook = threading.excepthook
        threading.excepthook = self._without_tensorboard

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Scalars of one step."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def video(self, name: str, path: Path, caption: str, step: int) -> None:
        """Where the file lies."""
        self.writer.add_text(name, redact_text(f"{caption}: {path}"), step)

    def file(self, path: Path, name: str) -> None:
        """A text file's content."""
        self.writer.add_text(name, f"```\n{path.read_text(encoding='utf-8')}\n```")

    def saved(self, step: int) -> None:
        """Bring to disk what was told."""
        self.writer.flush()

    def go_back(self, step: int) -> None:
        """Hide what was told of later steps."""
        self.writer.close()
        self.writer = self._open(purge_step=step + 1)

    def finish(self) -> None:
        """Flush and close."""
        try:
            self.writer.close()
        finally:
            threading.excepthook = self._usual_hook

    def _without_tensorboard(self, failure: threading.ExceptHookArgs) -> None:
        """Its thread's failure, on a full disk say, is raised again by the next call, and told there: no traceback beside."""
        if not type(failure.thread).__module__.startswith("tensorboard."):
            self._usual_hook(failure)
