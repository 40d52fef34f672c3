"""Flow maps as functions of tensors (AnyFlow, arXiv 2605.13724; the identity is MeanFlow's, arXiv 2505.13447, equation 6).

B batch, T latent frames, C channels, H W latent rows and columns. F(x_t, t, r) is the mean velocity from t to r: x_r = x_t - (t - r) F.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core import flow


def map_target(velocity_BTCHW: Tensor, derivative_BTCHW: Tensor, t_B: Tensor, r_B: Tensor) -> Tensor:
    """sg(v - (t - r) dF/dt), t and r in σ; v itself at r = t (as in NVlabs/AnyFlow, far/trainers/trainer_wan_anyflow_pretrain.py)."""
    apart = flow.shaped_like((t_B - r_B).to(velocity_BTCHW.dtype), velocity_BTCHW)
    return (velocity_BTCHW - apart * derivative_BTCHW).detach()


def noise_weight(t_B: Tensor) -> Tensor:
    """t √(1 - t), t in σ: little at either end, most at ⅔."""
    return t_B * torch.sqrt(1.0 - t_B)


def map_loss(
    map_BTCHW: Tensor, target_BTCHW: Tensor, t_B: Tensor, interval_B: Tensor, weight: float, constant: float
) -> Tensor:
    """mean over samples of w(t) m, m = mean (F - target)²; where r < t (``interval_B``) of w(t) · weight · m / sg(m + c).

    AnyFlow brings the latter to the mean of the former in the batch, which a batch of one, or of one kind, cannot.
    """
    error_B = ((map_BTCHW.float() - target_BTCHW.float()) ** 2).flatten(1).mean(1)
    evened_B = torch.where(interval_B, weight * error_B / (error_B.detach() + constant), error_B)
    return torch.mean(noise_weight(t_B).float() * evened_B)
