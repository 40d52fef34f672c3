"""What became of each clip and caption: one line of JSON each, beside the data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from distill_core.errors import DataError
from distill_core.printable import visible


@dataclass(frozen=True)
class Fate:
    """What became of one clip or caption.

    Attributes:
        name: the row's id, or the file or the line of the captions file that no row was made of.
        encoded: whether it is part of the data set.
        reason: why not, or "".
        changes: what was done to it first, in words.
        pixels: [F, H, W] of what was encoded.
        latent: [C, T, H, W].
        text: [L, D].
        latent_key: the row's column.
        text_key: the row's column.
        kept: whether it was encoded by an earlier command; this is no part of the report.
    """

    name: str
    encoded: bool
    reason: str = ""
    changes: tuple[str, ...] = ()
    pixels: tuple[int, ...] = ()
    latent: tuple[int, ...] = ()
    text: tuple[int, ...] = ()
    latent_key: str = ""
    text_key: str = ""
    kept: bool = False

    @property
    def identity(self) -> tuple[str, str, str]:
        """What its row is known by."""
        return self.name, self.latent_key, self.text_key


_FATE = TypeAdapter(Fate)

Listener = Callable[[Sequence[Fate]], None]
"""Hears of the fates that a video's clips, or a caption, have met."""


def write_report(path: Path, fates: Iterable[Fate]) -> None:
    """A line for each fate."""
    lines = []
    for fate in fates:
        columns = asdict(fate)
        del columns["kept"]
        lines.append(visible(json.dumps(columns, ensure_ascii=False)) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def read_report(path: Path) -> tuple[Fate, ...]:
    """The fates of a report."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return tuple(_FATE.validate_json(line) for line in lines if line)


def check_something_was_encoded(fates: Sequence[Fate]) -> None:
    """Raise DataError, with the reasons, if no fate is that of a row."""
    if not any(fate.encoded for fate in fates):
        reasons = Counter(fate.reason for fate in fates).most_common(5)
        listed = "; ".join(f"{count} × {reason}" for reason, count in reasons)
        raise DataError(f"nothing could be encoded of {len(fates)}: {listed}")
