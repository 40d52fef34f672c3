"""Falling timesteps that a sampler evaluates the network at, without the closing 0."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from distill_core.errors import DistillError
from distill_core.flow.arithmetic import TRAIN_TIMESTEPS, shift_timestep


def shifted_uniform_grid(steps: int, shift: float) -> tuple[float, ...]:
    """The timesteps shift(1000 (1 - k / K)), k = 0 … K - 1: from 1000 down."""
    uniform = TRAIN_TIMESTEPS * (1.0 - torch.arange(steps, dtype=torch.float64) / steps)
    return tuple(shift_timestep(uniform, shift).tolist())


def denoising_grid(timesteps: Sequence[float]) -> tuple[float, ...]:
    """Timesteps to evaluate the network at, for a list that may close with 0: there x_t is x0 already, and nothing is left to do.

    Raises DistillError unless they fall strictly within (0, 1000].
    """
    grid = tuple(float(t) for t in timesteps)
    if grid and grid[-1] == 0.0:
        grid = grid[:-1]
    falling = all(now > later for now, later in pairwise(grid))
    if not grid or not falling or grid[0] > TRAIN_TIMESTEPS or grid[-1] <= 0.0:
        raise DistillError(f"denoising timesteps must fall strictly within (0, 1000], got {list(timesteps)}")
    return grid
