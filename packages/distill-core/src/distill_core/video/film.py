"""What is read of a file: a look at it, its frames on one clock, and in words what was done to them. Opens none.

H W pixel rows and columns; a frame is RGB, uint8 [H, W, 3].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from distill_core.video.looking import Look


@dataclass(frozen=True)
class TimedFrame:
    """One frame: upright, of square pixels, opaque, SDR.

    Attributes:
        number: which of the file's frames it is, from 0.
        time: when it is first shown, in seconds from the first frame on.
        duration: how long it is shown, in seconds, as far as the file says.
        develop: makes the pixels, uint8 [H, W, 3]; called once at most, and not for a frame that is dropped.
    """

    number: int
    time: float
    duration: float
    develop: Callable[[], Tensor] = field(repr=False)

    @cached_property
    def pixels(self) -> Tensor:
        """uint8 [H, W, 3]."""
        return self.develop()


class Changes:
    """What was done to frames, in words: each once, in the order in which it was first done."""

    def __init__(self) -> None:
        self._words: dict[str, None] = {}

    def say(self, *words: str) -> None:
        """Add what was not said yet."""
        self._words.update(dict.fromkeys(words))

    def __iter__(self) -> Iterator[str]:
        """All that was said so far."""
        return iter(tuple(self._words))


@dataclass(frozen=True)
class Film:
    """An opened file.

    Attributes:
        look: what it is.
        frames: its frames, decoded as they are taken, no more than a few held. Raises DataError at one that is damaged.
        changes: what was done to those that were taken.
    """

    look: Look
    frames: Iterator[TimedFrame]
    changes: Changes
