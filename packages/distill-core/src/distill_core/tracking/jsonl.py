"""metrics.jsonl: one JSON object per line of figures, the record that every run keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from distill_core.durable import write_text


class JsonlTracker:
    """Appends ``{"step": …, name: value, …}`` to a file.

    Lines of ``first_step`` and later, which an earlier process left, are dropped first: they are about to be made again.
    """

    def __init__(self, path: Path, first_step: int = 0) -> None:
        self.path = path
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and _step_of(line) < first_step]
            write_text(path, "".join(kept))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def video(self, name: str, path: Path, caption: str, step: int) -> None:
        """Videos lie in the run directory already."""

    def file(self, path: Path, name: str) -> None:
        """Files lie in the run directory already."""

    def finish(self) -> None:
        """Nothing is buffered."""


def _step_of(line: str) -> float:
    """The step of a line; infinity for one that a full disk or a crash cut short."""
    try:
        step: int = json.loads(line)["step"]
    except (ValueError, KeyError):
        return math.inf
    return step
