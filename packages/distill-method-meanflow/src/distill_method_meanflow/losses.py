"""MeanFlow as functions of tensors (Geng et al., arXiv 2505.13447).

B batch, T latent frames, C channels, H W latent rows and columns. u(x_t, r, t) is the mean velocity from t to r: x_r = x_t - (t - r) u.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core import flow


def mean_velocity_target(
    velocity_BTCHW: Tensor, derivative_BTCHW: Tensor, t_B: Tensor, r_B: Tensor, warmup: float
) -> Tensor:
    """sg(v - (t - r) du/dt), t and r in σ (equation 10, with du/dt = v ∂u/∂x + ∂u/∂t, equation 8). At r = t it is v itself."""
    apart = warmup * flow.shaped_like((t_B - r_B).to(velocity_BTCHW.dtype), velocity_BTCHW)
    return (velocity_BTCHW - apart * derivative_BTCHW).detach()


def mixed_velocity(
    velocity_BTCHW: Tensor, cond_BTCHW: Tensor, uncond_BTCHW: Tensor, scale: float, mixture: float
) -> Tensor:
    """ω v + κ u(x, t, t | c) + (1 - ω - κ) u(x, t, t) (equation 21)."""
    return scale * velocity_BTCHW + mixture * cond_BTCHW + (1.0 - scale - mixture) * uncond_BTCHW


def weighed_loss(mean_velocity_BTCHW: Tensor, target_BTCHW: Tensor, power: float, constant: float) -> Tensor:
    """mean over samples of m / sg(m + c)^p, m = mean (u - target)² (equation 9 and appendix B.2)."""
    error_B = ((mean_velocity_BTCHW.float() - target_BTCHW.float()) ** 2).flatten(1).mean(1)
    return torch.mean(error_B / (error_B.detach() + constant) ** power)
