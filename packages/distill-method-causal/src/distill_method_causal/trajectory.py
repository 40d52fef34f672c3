"""A teacher's path from noise to a clip, and its states on the way. B batch, T latent frames, C channels, H W latent rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Condition, Role
from distill_method_causal.guidance import guided_velocity


def path_grid(even: Sequence[float], kept: Sequence[float]) -> tuple[float, ...]:
    """The timesteps of a path, descending to 0: an even grid with those put in that are kept, so that no state has to be near enough."""
    return tuple(sorted({*even, *kept, 0.0}, reverse=True))


@torch.no_grad()
def path_states(
    teacher: Role,
    noise_BTCHW: Tensor,
    condition: Condition,
    grid: Sequence[float],
    kept: Sequence[float],
    scale: float,
) -> tuple[Tensor, Tensor]:
    """The guided teacher's states at the timesteps ``kept``, [S, B, T, C, H, W], and where it ends: Euler steps down ``grid``."""
    x_BTCHW, states = noise_BTCHW, []
    for timestep, following in pairwise(grid):
        if timestep in kept:
            states.append(x_BTCHW)
        t_B, next_B = (
            torch.full((len(x_BTCHW),), each, dtype=torch.float64, device=x_BTCHW.device)
            for each in (timestep, following)
        )
        velocity_BTCHW = guided_velocity(teacher, x_BTCHW, t_B, condition, scale)
        x_BTCHW = flow.euler_step(x_BTCHW, velocity_BTCHW, t_B, next_B)
    return torch.stack(states), x_BTCHW
