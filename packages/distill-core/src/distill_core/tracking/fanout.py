"""Several trackers as one, behind one gate. A tracker that fails is reported once and left out: training does not depend on it.

Whatever a tracker gets while a run goes on passes here: names, captions, texts. Secrets are taken out, and no character is left that
acts on a terminal; figures and videos stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from distill_core.durable import write_text
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.printable import visible
from distill_core.protocols.tracker import Tracker
from distill_core.redaction import redact_text
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
                with (
                    plugin_border()
                ):  # a tracker's service is foreign code: its failure is shown, and costs no training
                    call(tracker)
            except RefusedError as refusal:
                self.others.remove(tracker)
                self.events.warn("tracker_failed", f"{type(tracker).__name__} failed and is left out: {refusal.reason}")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Scalars of one step."""
        figures = {visible(redact_text(name)): value for name, value in metrics.items()}
        self._each(lambda tracker: tracker.log(figures, step))

    def video(self, name: str, path: Path, caption: str, step: int) -> None:
        """An mp4 file, or a png of one frame."""
        self._each(lambda tracker: tracker.video(visible(redact_text(name)), path, visible(redact_text(caption)), step))

    def file(self, path: Path, name: str) -> None:
        """A text file to keep. One with secrets in it stays here, and a copy without them goes."""
        text = path.read_text(encoding="utf-8")
        harmless = "".join(
            part if _EMBEDDED.fullmatch(part) else visible(redact_text(part)) for part in _EMBEDDED.split(text)
        )
        if harmless != text:
            path = path.with_name(f"redacted-{path.name}")
            write_text(path, harmless)
        self._each(lambda tracker: tracker.file(path, name))

    def saved(self, step: int) -> None:
        """A checkpoint of this step is published."""
        self._each(lambda tracker: tracker.saved(step))

    def go_back(self, step: int) -> None:
        """What was told of later steps does not count."""
        self._each(lambda tracker: tracker.go_back(step))

    def finish(self) -> None:
        """Flush and close every tracker."""
        self._each(lambda tracker: tracker.finish())


_EMBEDDED = re.compile(r"(\bdata:[\w/+.-]+;base64,[A-Za-z0-9+/=]*)")
"""A clip or a picture inside a page: its letters are no text."""
