"""Several trackers as one. A tracker that fails is reported once and left out from then on: training does not depend on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from distill_core.protocols.tracker import Tracker
from distill_core.tracking.events import Events


class Trackers:
    """Passes everything on to each tracker. ``record`` is the run's own metrics.jsonl, whose failure is the run's."""

    def __init__(self, record: Tracker, others: Sequence[Tracker], events: Events) -> None:
        self.record = record
        self.others = list(others)
        self.events = events

    def _each(self, call: Callable[[Tracker], None]) -> None:
        call(self.record)
        for tracker in list(self.others):
            try:
                call(tracker)
            except Exception as error:  # noqa: BLE001  a tracker's service is foreign code: its failure is shown, and costs no training
                self.others.remove(tracker)
                self.events.warn(
                    "tracker_failed",
                    f"{type(tracker).__name__} failed and is left out: {type(error).__name__}: {error}",
                )

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Scalars of one step."""
        self._each(lambda tracker: tracker.log(metrics, step))

    def video(self, name: str, path: Path, caption: str, step: int) -> None:
        """An mp4 file."""
        self._each(lambda tracker: tracker.video(name, path, caption, step))

    def file(self, path: Path, name: str) -> None:
        """A file to keep."""
        self._each(lambda tracker: tracker.file(path, name))

    def finish(self) -> None:
        """Flush and close every tracker."""
        self._each(lambda tracker: tracker.finish())
