"""The unit of timesteps, [0, 1000], as options of run.yaml and of commands take it. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

TimestepsT = TypeVar("TimestepsT", bound=Sequence[float])

TRAIN_TIMESTEPS = 1000.0
"""The timestep of pure noise."""


def in_thousand(timesteps: TimestepsT) -> TimestepsT:
    """The timesteps as they are. Raises ValueError for a list in the unit of σ, [0, 1], which other trainers use."""
    if timesteps and max(timesteps) <= 1.0 and any(timesteps):
        meant = ", ".join(f"{timestep * TRAIN_TIMESTEPS:g}" for timestep in timesteps)
        raise ValueError(f"timesteps are in [0, 1000], and these all lie in [0, 1]; did you mean × 1000, [{meant}]?")
    return timesteps


def shifted(timestep: float, shift: float) -> float:
    """t' = 1000 s u / (1 + (s - 1) u) with u = t / 1000: the flow shift of one timestep."""
    u = timestep / TRAIN_TIMESTEPS
    return TRAIN_TIMESTEPS * shift * u / (1.0 + (shift - 1.0) * u)
