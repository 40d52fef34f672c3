"""A tracker for who has nobody to tell: a process that is not its run's first, a run that is only played, a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class Silence:
    """The :class:`distill_core.protocols.Tracker` that keeps nothing."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing."""

    def video(self, name: str, path: Path, caption: str, step: int) -> None:
        """Nothing."""

    def file(self, path: Path, name: str) -> None:
        """Nothing."""

    def saved(self, step: int) -> None:
        """Nothing."""

    def go_back(self, step: int) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""
