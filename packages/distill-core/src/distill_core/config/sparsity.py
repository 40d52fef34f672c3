"""How sparse attention grows over training: a pure function of the step, so that a resumed run goes on exactly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SparsityRamp:
    """A ramp from dense attention up to the target.

    Attributes:
        target: the sparsity that the run ends with, in [0, 1).
        rise: how much it rises per interval; None is at the target from the first step.
        interval: training steps per rise.
    """

    target: float = 0.0
    rise: float | None = None
    interval: int = 1

    def at(self, step: int) -> float:
        """min(target, rise · ⌊step / interval⌋); ``step`` counts from 1. The last rise is a short one where it would overshoot."""
        return self.target if self.rise is None else min(self.target, self.rise * (step // self.interval))
