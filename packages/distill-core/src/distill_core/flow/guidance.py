"""A role's guided velocity, and the states that its flow goes through: what methods learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from distill_core.errors import DistillError
from distill_core.flow.arithmetic import euler_step
from distill_core.protocols.condition import Condition
from distill_core.protocols.prediction import Ask
from distill_core.protocols.role import PLAIN, Role

SAME = 1e-6
"""Timesteps that are no farther apart are one."""


def timestep_of(timestep: float, samples: Tensor) -> Tensor:
    """One timestep for all of ``samples`` [B, ...], float64 [B]."""
    return torch.full((len(samples),), timestep, dtype=torch.float64, device=samples.device)


def guided_velocity(
    role: Role,
    noisy_BTCHW: Tensor,
    timestep: Tensor,
    condition: Condition,
    scale: float,
    ask: Ask = PLAIN,
    *,
    input_gradients: bool = False,
) -> Tensor:
    """uncond + s · (cond - uncond) as a velocity (arXiv 2207.12598, equation 6, with s = w + 1).

    s = 1 takes one prediction, any other two. Linear, so the same in v, x̂0 and ε̂.
    """
    cond_BTCHW = role.predict_velocity(noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients)
    if scale == 1.0:
        return cond_BTCHW
    negative = role.unconditional(condition)
    uncond_BTCHW = role.predict_velocity(noisy_BTCHW, timestep, negative, ask, input_gradients=input_gradients)
    return uncond_BTCHW + scale * (cond_BTCHW - uncond_BTCHW)


def grid_through(grid: Sequence[float], through: Sequence[float]) -> tuple[float, ...]:
    """A falling grid with further timesteps put in where it does not pass through them already, to the bit."""
    others = (t for t in grid if all(abs(t - each) > SAME for each in through))
    return tuple(sorted({*others, *through}, reverse=True))


def flow_states(
    velocity: Callable[[Tensor, Tensor], Tensor], noise_BTCHW: Tensor, grid: Sequence[float], kept: Sequence[float]
) -> Tensor:
    """Euler steps from noise through the timesteps of ``grid`` down to 0: the states at ``kept``, and the end, [B, S + 1, T, C, H, W].

    Raises DistillError unless each of ``kept`` is on the grid to the bit; the grid falls from 1000 and has no closing 0.
    """
    missing = [t for t in kept if t not in grid]
    if missing:
        raise DistillError(f"the grid does not pass through {', '.join(f'{t:g}' for t in missing)}")
    states, x_BTCHW = [], noise_BTCHW
    for timestep, following in pairwise((*grid, 0.0)):
        if timestep in kept:
            states.append(x_BTCHW)
        t_B, next_B = timestep_of(timestep, x_BTCHW), timestep_of(following, x_BTCHW)
        x_BTCHW = euler_step(x_BTCHW, velocity(x_BTCHW, t_B), t_B, next_B)
    return torch.stack([*states, x_BTCHW], dim=1)
