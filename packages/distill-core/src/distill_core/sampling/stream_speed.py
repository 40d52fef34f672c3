"""How fast videos by blocks came: the mean over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean

from distill_core.protocols.validator import StreamTimes

Timed = tuple[int, StreamTimes | None]
"""Frames of a video, and how long they took, where it was made by blocks."""


@dataclass(frozen=True)
class StreamSpeed:
    """The speed of some videos.

    Attributes:
        first_block_seconds: until the frames of the first block could be shown.
        frames_per_second: frames of a video over the seconds that all of it took.
    """

    first_block_seconds: float
    frames_per_second: float

    @property
    def figures(self) -> dict[str, float]:
        """By name, as they are logged."""
        return {"first_block_seconds": self.first_block_seconds, "frames_per_second": self.frames_per_second}

    @classmethod
    def of(cls, timed: Iterable[Timed]) -> StreamSpeed | None:
        """None where no video was made by blocks."""
        made = [(frames, times) for frames, times in timed if times is not None]
        if not made:
            return None
        rates = (frames / max(times.whole, 1e-9) for frames, times in made)
        return cls(mean(times.first_block for _, times in made), mean(rates))
