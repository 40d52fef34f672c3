"""Distribution matching as functions of tensors: guidance, the gradient between two scores, and what a critic learns.

B batch, T latent frames, C channels, H W latent rows and columns. Flow matching: x_t = (1 - σ) x0 + σ ε, v = ε - x0.
``first``: the frame from which on a loss counts.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Normalizer = Literal["per_sample", "per_batch", "none"]
FloorAs = Literal["max", "sum"]


def guided(cond_BTCHW: Tensor, uncond_BTCHW: Tensor, scale: Tensor | float) -> Tensor:
    """uncond + s·(cond - uncond), with s of the batch or of each sample (arXiv 2207.12598, equation 6, with s = w + 1)."""
    return uncond_BTCHW + scale * (cond_BTCHW - uncond_BTCHW)


def dmd_gradient(
    x_BTCHW: Tensor,
    fake_BTCHW: Tensor,
    real_BTCHW: Tensor,
    normalizer: Normalizer = "per_sample",
    floor: float = 1e-6,
    floor_as: FloorAs = "max",
) -> Tensor:
    """The direction that lowers KL(student ‖ teacher) (DMD, arXiv 2311.18828, equations 7 and 8, in x0 space).

    g = (x0_fake - x0_real) / mean |x - x0_real|, with x the student's sample, x0_fake and x0_real what critic and teacher make of it
    when it is noised. The mean is over all of a sample but its batch index, over the whole batch, or there is none; it is at least
    ``floor``, or ``floor`` more than it is.
    """
    difference_BTCHW = fake_BTCHW - real_BTCHW
    distance_BTCHW = (x_BTCHW - real_BTCHW).abs()
    match normalizer:
        case "per_sample":
            return difference_BTCHW / floored(distance_BTCHW.mean(dim=(1, 2, 3, 4), keepdim=True), floor, floor_as)
        case "per_batch":
            return difference_BTCHW / floored(distance_BTCHW.mean(), floor, floor_as)
        case "none":
            return difference_BTCHW


def floored(mean: Tensor, floor: float, floor_as: FloorAs) -> Tensor:
    """max(mean, floor), or mean + floor: what a gradient can be divided by."""
    return mean.clamp(min=floor) if floor_as == "max" else mean + floor


def dmd_loss(x_BTCHW: Tensor, gradient_BTCHW: Tensor, first: int = 0) -> Tensor:
    """½ mean (x - sg(x - g))² over the frames from ``first`` on: its derivative with respect to x is g / (number of elements).

    So its gradient is that of the KL divergence (DMD, arXiv 2311.18828, equation 7), which has no loss of its own.
    """
    target_BTCHW = (x_BTCHW - gradient_BTCHW).detach()
    return 0.5 * torch.mean((x_BTCHW.float() - target_BTCHW.float())[:, first:] ** 2)


def critic_velocity_loss(velocity_BTCHW: Tensor, x_BTCHW: Tensor, noise_BTCHW: Tensor, first: int = 0) -> Tensor:
    """mean (v - (ε - x))²: flow matching on the student's samples x (DMD2, arXiv 2405.14867, equation 6, in velocity space)."""
    return torch.mean((velocity_BTCHW.float() - (noise_BTCHW - x_BTCHW).float())[:, first:] ** 2)


def critic_x0_loss(predicted_BTCHW: Tensor, x_BTCHW: Tensor, first: int = 0) -> Tensor:
    """mean (x̂0 - x)²: the same regression (DMD2, equation 6) in x0 space, which weights a sample by σ²."""
    return torch.mean((predicted_BTCHW.float() - x_BTCHW.float())[:, first:] ** 2)


def critic_noise_loss(predicted_BTCHW: Tensor, noise_BTCHW: Tensor, first: int = 0) -> Tensor:
    """mean (ε̂ - ε)²: the same regression (DMD2, equation 6) in noise space, which weights a sample by (1 - σ)²."""
    return torch.mean((predicted_BTCHW.float() - noise_BTCHW.float())[:, first:] ** 2)
