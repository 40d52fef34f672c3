"""Rectified flow as pure functions: x_t = (1 - σ) x0 + σ ε, v = ε - x0, σ = t / 1000 (Liu et al., arXiv 2209.03003).

Timesteps are float64 in [0, 1000]: [B], one of each sample, or [B, T], one of each frame. Samples are [B, T, ...]. Knows no network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core.transfer import onto_device

TRAIN_TIMESTEPS = 1000.0
"""The timestep of pure noise."""


def shaped_like(values: Tensor, like: Tensor) -> Tensor:
    """[B] or [B, T] with as many dimensions as ``like`` [B, T, ...], so that the two multiply."""
    return values.view(*values.shape, *(1 for _ in range(like.ndim - values.ndim)))


def sigma_of(timestep: Tensor, like: Tensor) -> Tensor:
    """σ = t / 1000, divided in float64, then in the dtype of ``like`` (float32 at least) and shaped to multiply it."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return shaped_like(onto_device((timestep.double() / TRAIN_TIMESTEPS).to(dtype), like.device), like)


def add_noise(clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """x_t = (1 - σ) x0 + σ ε. Keeps the graph of ``clean``."""
    return noised(clean, noise, sigma_of(timestep, clean))


def noised(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The same for a σ that :func:`sigma_of` gave, where one serves several formulas."""
    return (1.0 - sigma) * clean + sigma * noise


def x0_of(noisy: Tensor, velocity: Tensor, timestep: Tensor) -> Tensor:
    """x̂0 = x_t - σ v."""
    return denoised(noisy, velocity, sigma_of(timestep, noisy))


def denoised(noisy: Tensor, velocity: Tensor, sigma: Tensor) -> Tensor:
    """The same for a σ that :func:`sigma_of` gave, where one serves several formulas."""
    return noisy - sigma * velocity


def noise_of(noisy: Tensor, velocity: Tensor, timestep: Tensor) -> Tensor:
    """ε̂ = x_t + (1 - σ) v."""
    return noisy + (1.0 - sigma_of(timestep, noisy)) * velocity


def velocity_of(noisy: Tensor, x0: Tensor, timestep: Tensor) -> Tensor:
    """v = (x_t - x̂0) / σ; timesteps above 0."""
    return (noisy - x0) / sigma_of(timestep, noisy)


def euler_step(noisy: Tensor, velocity: Tensor, timestep: Tensor, next_timestep: Tensor) -> Tensor:
    """x_t' = x_t + (σ' - σ) v."""
    return noisy + (sigma_of(next_timestep, noisy) - sigma_of(timestep, noisy)) * velocity


def move(noisy: Tensor, x0: Tensor, timestep: Tensor, next_timestep: Tensor) -> Tensor:
    """Along the flow by a predicted x0: x_σ' = (1 - σ') x̂0 + σ' ε̂, with ε̂ = (x_σ - (1 - σ) x̂0) / σ, the noise that it implies.

    In float64, then in the dtype of ``noisy``; timesteps above 0.
    """
    here, there = (
        shaped_like(onto_device(each.double() / TRAIN_TIMESTEPS, noisy.device), noisy)
        for each in (timestep, next_timestep)
    )
    implied = (noisy - (1.0 - here) * x0) / here
    return ((1.0 - there) * x0 + there * implied).to(noisy.dtype)


def shift_timestep(timestep: Tensor, shift: float) -> Tensor:
    """t' = 1000 s u / (1 + (s - 1) u) with u = t / 1000, in float64 (Esser et al., arXiv 2403.03206, equation 23)."""
    u = timestep.double() / TRAIN_TIMESTEPS
    return TRAIN_TIMESTEPS * shift * u / (1.0 + (shift - 1.0) * u)
