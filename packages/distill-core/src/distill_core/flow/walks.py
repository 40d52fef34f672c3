"""From noise to a sample by a velocity: stochastically, or by Euler steps along the flow. The same for every family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from distill_core.flow.arithmetic import add_noise, euler_step, x0_of

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B, T, C, H, W], t float64 [B]) to the velocity that is followed."""


class Noise(Protocol):
    """The draws of one sample, in the order in which a walk asks for them."""

    def draw(self) -> Tensor:
        """The next standard normal float32 [1, T, C, H, W]."""
        ...


def sde(velocity: Velocity, grid: tuple[float, ...], noise: Noise) -> Tensor:
    """Predict x0, noise it anew for the next timestep, and so on; the last prediction is the sample."""
    x_BTCHW = noise.draw()
    for index, timestep in enumerate(grid):
        t_B = _batch_of(timestep)
        x0_BTCHW = x0_of(x_BTCHW, velocity(x_BTCHW, t_B), t_B)
        if index + 1 == len(grid):
            return x0_BTCHW
        x_BTCHW = add_noise(x0_BTCHW, noise.draw(), _batch_of(grid[index + 1]))
    raise AssertionError("a denoising grid holds a timestep")


def euler(velocity: Velocity, grid: tuple[float, ...], noise: Noise) -> Tensor:
    """Euler steps along the flow through ``grid``, down to σ = 0."""
    x_BTCHW = noise.draw()
    for timestep, following in zip(grid, (*grid[1:], 0.0), strict=True):
        t_B, next_B = _batch_of(timestep), _batch_of(following)
        x_BTCHW = euler_step(x_BTCHW, velocity(x_BTCHW, t_B), t_B, next_B)
    return x_BTCHW


def _batch_of(timestep: float) -> Tensor:
    return torch.tensor([timestep], dtype=torch.float64)
