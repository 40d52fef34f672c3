"""Which part of a sequence each training step makes: a function of the step alone. Frames are latent frames. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chunk:
    """The frames that one step adds.

    Attributes:
        start: the frames that are there already; 0 begins a sequence.
        stop: those that are there afterwards.
    """

    start: int
    stop: int

    @property
    def new(self) -> int:
        """How many it adds."""
        return self.stop - self.start


def chunks(frames: int, overlap: int, longest: int) -> tuple[Chunk, ...]:
    """The chunks of one sequence: a first of ``frames``, then each of as many less ``overlap``, until ``longest``."""
    made = [Chunk(0, min(frames, longest))]
    while made[-1].stop < longest:
        start = made[-1].stop
        made.append(Chunk(start, min(start + frames - overlap, longest)))
    return tuple(made)


def chunk_at(step: int, frames: int, overlap: int, longest: int) -> Chunk:
    """The chunk of a training step, counted from 1: one sequence after another."""
    made = chunks(frames, overlap, longest)
    return made[(step - 1) % len(made)]
