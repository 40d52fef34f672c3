"""metrics.jsonl: one JSON object per line of figures, the record that every run keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from distill_core.durable import appending, aside, write_text
from distill_core.tracking.events import Events


class JsonlTracker:
    """Appends ``{"step": …, name: value, …}`` to a file.

    Lines of ``first_step`` and later, which an earlier process left, are dropped first: they are about to be made again. A file with
    lines that are none is kept under another name, and gone on with without them; a run that starts over keeps the old one too.
    """

    def __init__(self, path: Path, first_step: int = 0, events: Events | None = None) -> None:
        self.path = path
        if not path.exists():
            return
        events = Events(None) if events is None else events
        lines = _whole_lines(path.read_bytes())
        steps = [_step_of(line) for line in lines]
        kept = [line for line, step in zip(lines, steps, strict=True) if step is not None and step < first_step]
        damaged = steps.count(None)
        if damaged:
            events.warn(
                "record_damaged",
                f"{damaged} lines of {path} are no figures, and left out; the file is now {aside(path)}",
            )
        elif lines and not first_step:
            events.warn(
                "starts_over", f"nothing was saved, and the run starts over; its figures so far are now {aside(path)}"
            )
        write_text(path, "".join(kept))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Append one line."""
        with appending(self.path) as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def video(self, name: str, path: Path, caption: str, step: int) -> None:
        """Videos lie in the run directory already."""

    def file(self, path: Path, name: str) -> None:
        """Files lie in the run directory already."""

    def saved(self, step: int) -> None:
        """It is on disk already."""

    def go_back(self, step: int) -> None:
        """Drop the lines of later steps."""
        lines = _whole_lines(self.path.read_bytes()) if self.path.exists() else []
        write_text(
            self.path, "".join(line for line in lines if (found := _step_of(line)) is not None and found <= step)
        )

    def finish(self) -> None:
        """Nothing is buffered."""


def _whole_lines(content: bytes) -> list[str]:
    """The lines, but for a last one that a full disk or a kill cut short. What is no UTF-8 makes its line none."""
    return [f"{line}\n" for line in content.decode("utf-8", errors="replace").split("\n")[:-1]]


def has_figures(path: Path, step: int, prefix: str) -> bool:
    """Whether a metrics.jsonl has a figure of this step whose name begins so. The file has been opened by a :class:`JsonlTracker`."""
    if not path.exists():
        return False
    records = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return any(record["step"] == step and any(name.startswith(prefix) for name in record) for record in records)


def broken_lines(content: bytes) -> list[int]:
    """The numbers, from 1, of the lines that are no lines of figures."""
    return [number for number, line in enumerate(_whole_lines(content), 1) if _step_of(line) is None]


def _step_of(line: str) -> int | None:
    """The step of a line; None for one that is no line of figures."""
    try:
        figures = json.loads(line)
    except (ValueError, RecursionError):
        return None
    step = figures.get("step") if isinstance(figures, dict) else None
    return step if isinstance(step, int) and "\ufffd" not in line else None
