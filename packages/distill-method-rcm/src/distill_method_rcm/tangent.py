"""The consistency part of rCM as functions of tensors (arXiv 2510.08431, section 3.1 and appendix; σ_d = 1).

B batch, T latent frames, C channels, H W latent rows and columns; float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core import flow


def tangent(
    state: flow.TrigState, held_BTCHW: Tensor, teacher_BTCHW: Tensor, derivative_BTCHW: Tensor, warmup: float
) -> Tensor:
    """g = -cos √(1 - w² sin²) (F⁻ - F_teacher) - (w cos sin x̂ + dF⁻), dF⁻ along cos sin (F_teacher, 1).

    As in rCM's code, the warm-up w multiplies the root and x̂ and leaves the derivative whole; at w = 1 it is sCM's tangent.
    """
    root = torch.sqrt((1.0 - (warmup * state.sin) ** 2).clamp(min=0.0))
    regression = -state.cos * root * (held_BTCHW - teacher_BTCHW)
    return regression - (warmup * state.cos * state.sin * state.x_BTCHW + derivative_BTCHW)


def normalised(tangent_BTCHW: Tensor, constant: float) -> Tensor:
    """g / (‖g‖ / √D + c), the norm over a sample; 0 for a sample of which a number is not finite."""
    finite_B = tangent_BTCHW.isfinite().flatten(1).all(dim=1)
    kept_BTCHW = torch.where(flow.shaped_like(finite_B, tangent_BTCHW), tangent_BTCHW, 0.0)
    size_B = kept_BTCHW.square().flatten(1).mean(1).sqrt()
    return kept_BTCHW / (flow.shaped_like(size_B, kept_BTCHW) + constant)


def consistency_loss(function_BTCHW: Tensor, tangent_BTCHW: Tensor) -> Tensor:
    """mean (F - sg(F) - g)²; rCM takes 100 times the sum over a sample."""
    aim_BTCHW = (function_BTCHW + tangent_BTCHW).detach()
    return torch.mean((function_BTCHW - aim_BTCHW) ** 2)
