"""The losses and timestep densities of flow matching, as functions of tensors.

B batch, T latent frames, C channels, H W latent rows and columns. x_t = (1 - σ) x0 + σ ε, v = ε - x0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core.transfer import onto_device


def velocity_loss(velocity_BTCHW: Tensor, x0_BTCHW: Tensor, noise_BTCHW: Tensor) -> Tensor:
    """mean (v - (ε - x0))² (Lipman et al., arXiv 2210.02747, equation 23 for the straight path)."""
    return torch.mean((velocity_BTCHW.float() - (noise_BTCHW - x0_BTCHW).float()) ** 2)


def x0_loss(velocity_BTCHW: Tensor, noisy_BTCHW: Tensor, x0_BTCHW: Tensor, sigma_B: Tensor) -> Tensor:
    """mean ((x_t - σ v) - x0)², the loss of the prediction that the velocity implies."""
    sigma = onto_device(sigma_B.to(noisy_BTCHW.dtype), noisy_BTCHW.device).view(-1, 1, 1, 1, 1)
    return torch.mean((noisy_BTCHW - sigma * velocity_BTCHW - x0_BTCHW).float() ** 2)


def logit_normal(normal_B: Tensor, mean: float, std: float) -> Tensor:
    """σ = sigmoid(mean + std · n), n standard normal (Esser et al., arXiv 2403.03206, equation 19)."""
    return torch.sigmoid(mean + std * normal_B)


def mode(uniform_B: Tensor, scale: float) -> Tensor:
    """σ = 1 - u - s (cos²(π u / 2) - 1 + u), u uniform in [0, 1) (Esser et al., arXiv 2403.03206, equation 20)."""
    return 1.0 - uniform_B - scale * (torch.cos(torch.pi * uniform_B / 2.0) ** 2 - 1.0 + uniform_B)
