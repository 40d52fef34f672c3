"""What happened in a run, for a program (events.jsonl) and, where it matters, for a person (the terminal)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from distill_core.durable import appending
from distill_core.printable import visible
from distill_core.redaction import redact_text
from distill_core.terminal import remark


class Events:
    """Appends one JSON object per event. A warning is also shown on the terminal, unless it is for nobody's eyes."""

    def __init__(self, path: Path | None, *, shown: bool = True) -> None:
        self.path = path
        self.shown = shown

    def note(self, event: str, message: str, **details: str | int | float) -> None:
        """Write down an event."""
        if self.path is not None:
            record = {"time": datetime.now(UTC).isoformat(), "event": event, "message": redact_text(message), **details}
            with appending(self.path) as file:
                file.write(visible(json.dumps(record, ensure_ascii=False)) + "\n")

    def warn(self, event: str, message: str, **details: str | int | float) -> None:
        """Write down an event and show it."""
        self.note(event, message, **details)
        if self.shown:
            remark(f"warning: {message}")
