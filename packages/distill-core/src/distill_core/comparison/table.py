"""The figures of a comparison: for a terminal, for a page, and as JSON for a program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from distill_core.durable import aside, sealed, unsealed, write_text
from distill_core.plugins.border import reason
from distill_core.redaction import redact_mapping
from distill_core.tracking.events import Events


@dataclass(frozen=True)
class ComparedLine:
    """One row.

    Attributes:
        name: what the run.yaml calls it.
        role: the role that was sampled.
        clips: how many clips it was measured on.
        evaluations: how many times the denoiser ran for one clip.
        seconds_per_clip: wall-clock seconds of sampling and decoding one clip.
        first_block_seconds: of them, until the first block of a clip could be shown, where clips are made by blocks.
        frames_per_second: how fast frames came, where clips are made by blocks.
        figures: what the metrics say, by ``metric/figure``.
    """

    name: str
    role: str
    clips: int
    evaluations: float
    seconds_per_clip: float
    figures: Mapping[str, float]
    first_block_seconds: float | None = None
    frames_per_second: float | None = None


@dataclass(frozen=True)
class ComparisonTable:
    """All rows.

    Attributes:
        step: the training step that was compared.
        settings: the sections of the run.yaml that it was made by; with others it is made anew.
        headline: the figures that the table shows, those that any row has; the JSON has them all.
        lines: the rows, in the run.yaml's order.
    """

    step: int
    settings: Mapping[str, Any]
    headline: tuple[str, ...]
    lines: tuple[ComparedLine, ...]

    @property
    def shown(self) -> tuple[str, ...]:
        """The figures of the headline that any row has: a metric leaves out what it cannot say of these clips."""
        return tuple(name for name in self.headline if any(name in line.figures for line in self.lines))

    @property
    def headers(self) -> tuple[str, ...]:
        """The columns' names."""
        streamed = ("s to first block", "frames / s") if self.streamed else ()
        figures = (name.partition("/")[2].replace("_", " ") for name in self.shown)
        return ("", "evaluations", "s / clip", *streamed, *figures)

    @property
    def streamed(self) -> bool:
        """Whether any row was made by blocks."""
        return any(line.first_block_seconds is not None for line in self.lines)

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """One row of text per line."""
        return [
            (
                line.name,
                f"{line.evaluations:g}",
                f"{line.seconds_per_clip:.3f}",
                *((_said(line.first_block_seconds), _said(line.frames_per_second)) if self.streamed else ()),
                *(_said(line.figures.get(name)) for name in self.shown),
            )
            for line in self.lines
        ]

    def write(self, path: Path) -> None:
        """As JSON that carries its own hash; of the settings a hash too, for they may hold anything."""
        lines = [redact_mapping(asdict(line)) for line in self.lines]
        write_text(path, sealed({"step": self.step, "settings": _hash(self.settings), "lines": lines}))

    @classmethod
    def read(
        cls, path: Path, step: int, settings: Mapping[str, Any], headline: tuple[str, ...], events: Events
    ) -> ComparisonTable | None:
        """A table that was written for this step and these settings; None if there is none.

        One that is not what was written is moved aside, said, and gone on without.
        """
        if not path.exists():
            return None
        try:
            found = unsealed(path.read_bytes())
            lines = _LINES.validate_python(found["lines"])
            of = found["step"], found["settings"]
        except (ValueError, LookupError) as error:
            events.warn(
                "record_damaged", f"{path} is damaged ({reason(error)}), and made anew; the file is now {aside(path)}"
            )
            return None
        return cls(step, settings, headline, lines) if of == (step, _hash(settings)) else None


def _said(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3f}"


def _hash(settings: Mapping[str, Any]) -> str:
    """Another one means other settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


_LINES = TypeAdapter(tuple[ComparedLine, ...])
