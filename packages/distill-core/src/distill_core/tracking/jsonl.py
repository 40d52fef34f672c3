"""metrics.jsonl: one JSON object per line of figures, the record that every run keeps.

The hashes of its lines lie beside it, in a hidden file: what programs read stays as plain as it was, and a flipped digit is seen. A line is
what was written if its hash is among them, so neither a kill between the two files nor a line that somebody takes out matters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from distill_core.durable import appending, aside, sync, write_text
from distill_core.tracking.events import Events

_DIGITS = 16
"""Of a line's hash; it shows damage, not forgery."""


class JsonlTracker:
    """Appends ``{"step": …, name: value, …}`` to a file.

    Lines of ``first_step`` and later, which an earlier process left, are dropped first: they are about to be made again. A file with
    lines that are not what was written is kept under another name, and gone on with without them; a run that starts over keeps the old
    one too. A file without hashes, e.g. of an earlier version, is taken as it is.
    """

    def __init__(self, path: Path, first_step: int = 0, events: Events | None = None) -> None:
        self.path = path
        if not path.exists():
            hashes_beside(path).unlink(missing_ok=True)
            return
        events = Events(None) if events is None else events
        lines = _whole_lines(path.read_bytes())
        steps = _steps(path, lines)
        kept = [line for line, step in zip(lines, steps, strict=True) if step is not None and step < first_step]
        damaged = steps.count(None)
        if damaged:
            events.warn(
                "record_damaged",
                f"{damaged} lines of {path} are not what was written, and left out; the file is now {aside(path)}",
            )
        elif lines and not first_step:
            events.warn(
                "starts_over",
                f"nothing was saved, and the run starts over; its figures so far are now {aside(path, 'earlier')}",
            )
        self._keep(kept)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Append one line, its hash first."""
        line = json.dumps({"step": step, **metrics}) + "\n"
        with appending(hashes_beside(self.path)) as file:
            file.write(f"{_hash(line)}\n")
        with appending(self.path) as file:
            file.write(line)

    def _keep(self, lines: Sequence[str]) -> None:
        write_text(self.path, "".join(lines))
        write_text(hashes_beside(self.path), "".join(f"{_hash(line)}\n" for line in lines))

    def video(self, name: str, path: Path, caption: str, step: int) -> None:
        """Videos lie in the run directory already."""

    def file(self, path: Path, name: str) -> None:
        """Files lie in the run directory already."""

    def saved(self, step: int) -> None:
        """Bring to disk what a run that goes on from here rests on."""
        for path in (hashes_beside(self.path), self.path):
            if path.exists():
                sync(path)

    def go_back(self, step: int) -> None:
        """Drop the lines of later steps."""
        lines = _whole_lines(self.path.read_bytes()) if self.path.exists() else []
        self._keep([line for line in lines if (found := _step_of(line)) is not None and found <= step])

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


def broken_lines(path: Path) -> list[int]:
    """The numbers, from 1, of the lines of a metrics.jsonl that are not what was written."""
    return [number for number, step in enumerate(_steps(path, _whole_lines(path.read_bytes())), 1) if step is None]


def hashes_beside(path: Path) -> Path:
    """Where the hashes of the lines of a metrics.jsonl lie."""
    return path.with_name(f".{path.name}.sha256")


def _hash(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:_DIGITS]


def _steps(path: Path, lines: Sequence[str]) -> list[int | None]:
    """The step of each line; None for one that is not what was written."""
    hashes = hashes_beside(path)
    if not hashes.exists():
        return [_step_of(line) for line in lines]
    written = set(hashes.read_bytes().split(b"\n"))
    return [_step_of(line) if _hash(line).encode() in written else None for line in lines]


def _step_of(line: str) -> int | None:
    """The step of a line; None for one that is no line of figures."""
    try:
        figures = json.loads(line)
    except (ValueError, RecursionError):
        return None
    step = figures.get("step") if isinstance(figures, dict) else None
    return step if isinstance(step, int) and "\ufffd" not in line else None
