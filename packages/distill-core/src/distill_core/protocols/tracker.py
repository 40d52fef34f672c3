"""Where a run's figures, videos and files go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Tracker(Protocol):
    """One destination, e.g. a file or a service. The core redacts secrets before a tracker sees anything."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Scalars of one step."""
        ...

    def video(self, name: str, path: Path, caption: str, step: int) -> None:
        """An mp4 file, or a png of one frame."""
        ...

    def file(self, path: Path, name: str) -> None:
        """A file to keep with the run, under ``name``."""
        ...

    def saved(self, step: int) -> None:
        """A checkpoint of ``step`` is published: what was told of earlier steps will not be told again."""
        ...

    def go_back(self, step: int) -> None:
        """The run is at ``step`` again: what was told of later steps is about to be told anew, with other figures."""
        ...

    def finish(self) -> None:
        """Flush and close."""
        ...
