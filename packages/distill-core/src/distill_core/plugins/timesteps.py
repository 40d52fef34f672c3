"""The unit of timesteps, [0, 1000], as options of run.yaml and of commands take it. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, TypeVar

from pydantic import Field

Timestep = Annotated[float, Field(ge=0, le=1000)]
"""A timestep as an option: 0 is a clean sample, 1000 pure noise."""

TimestepsT = TypeVar("TimestepsT", bound=Sequence[float])

TRAIN_TIMESTEPS = 1000.0
"""The timestep of pure noise."""


def in_thousand(timesteps: TimestepsT) -> TimestepsT:
    """The timesteps as they are. Raises ValueError for a list in the unit of σ, [0, 1], which other trainers use."""
    if timesteps and max(timesteps) <= 1.0 and any(timesteps):
        meant = ", ".join(f"{timestep * TRAIN_TIMESTEPS:g}" for timestep in timesteps)
        raise ValueError(f"timesteps are in [0, 1000], and these all lie in [0, 1]; did you mean × 1000, [{meant}]?")
    return timesteps


def few_steps(timesteps: tuple[float, ...]) -> tuple[float, ...]:
    """The timesteps of a sampler of few steps, without a trailing 0, which marks the end and is no step of its own.

    Raises ValueError for such as do not descend strictly, or lie in [0, 1].
    """
    steps = timesteps[:-1] if len(timesteps) > 1 and timesteps[-1] == 0 else timesteps
    in_thousand(steps)
    if any(later >= earlier for earlier, later in pairwise(steps)) or steps[-1] <= 0:
        raise ValueError(
            "the steps must descend strictly and be above 0, with at most a trailing 0 as end marker, "
            f"e.g. [1000, 750, 500, 250]; sorted, yours are {sorted(set(timesteps), reverse=True)}"
        )
    return steps


def shifted(timestep: float, shift: float) -> float:
    """t' = 1000 s u / (1 + (s - 1) u) with u = t / 1000: the flow shift of one timestep."""
    u = timestep / TRAIN_TIMESTEPS
    return TRAIN_TIMESTEPS * shift * u / (1.0 + (shift - 1.0) * u)
