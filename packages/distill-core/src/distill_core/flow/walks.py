"""From noise to a sample by a velocity: stochastically, or by Euler steps along the flow. The same for every family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from distill_core.flow.arithmetic import add_noise, euler_step, x0_of

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B, T, C, H, W], t float64 [B]) to the velocity that is followed."""


Jump = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x_t [B, T, C, H, W], t float64 [B], r float64 [B]) to the mean velocity from t to r ≤ t."""


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


def flow_map(jump: Jump, grid: tuple[float, ...], noise: Noise) -> Tensor:
    """Jumps by mean velocities from each timestep of ``grid`` to the next, and to 0: x_r = x_t + (σ_r - σ_t) u (arXiv 2505.13447)."""
    x_BTCHW = noise.draw()
    for timestep, following in zip(grid, (*grid[1:], 0.0), strict=True):
        t_B, r_B = _batch_of(timestep), _batch_of(following)
        x_BTCHW = euler_step(x_BTCHW, jump(x_BTCHW, t_B, r_B), t_B, r_B)
    return x_BTCHW


def to_clean(jump: Jump) -> Velocity:
    """The mean velocity from t to 0: what predicts x0 in one step, for walks that noise it anew."""
    return lambda x_BTCHW, t_B: jump(x_BTCHW, t_B, torch.zeros_like(t_B))


def by_blocks(frames: int, size: int, walk: Callable[[int], Tensor], remember: Callable[[Tensor], None]) -> Tensor:
    """Block after block of ``size`` latent frames, the last with what is left: ``walk(frames)`` makes one, and every one but the last is
    remembered before the next."""
    blocks: list[Tensor] = []
    for start in range(0, frames, size):
        blocks.append(walk(min(size, frames - start)))
        if start + size < frames:
            remember(blocks[-1])
    return torch.cat(blocks, dim=1)


def _batch_of(timestep: float) -> Tensor:
    return torch.tensor([timestep], dtype=torch.float64)
