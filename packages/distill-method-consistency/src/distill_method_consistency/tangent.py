"""The tangent of consistency in continuous time, as functions of tensors (sCM, arXiv 2410.11081, section 4).

B batch, T latent frames, C channels, H W latent rows and columns; float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core import flow


def tangent(
    state: flow.TrigState, held_BTCHW: Tensor, dx_BTCHW: Tensor, derivative_BTCHW: Tensor, warmup: float
) -> Tensor:
    """g = -cos² (σ_d F⁻ - dx̂/dt̂) - r (cos sin x̂ + σ_d dF⁻/dt̂ cos sin) (equation 6 times cos t̂).

    ``derivative_BTCHW`` is dF⁻ along (cos sin dx̂/dt̂, cos sin); at r = 0 all that is left is regression onto the flow.
    """
    regression = -(state.cos**2) * (state.sigma_data * held_BTCHW - dx_BTCHW)
    return regression - warmup * (state.cos * state.sin * state.x_BTCHW + state.sigma_data * derivative_BTCHW)


def normalised(tangent_BTCHW: Tensor, constant: float) -> Tensor:
    """g / (‖g‖ / √D + c), the norm over a sample (section 4.1, spatially invariant)."""
    size_B = (tangent_BTCHW**2).flatten(1).mean(1).sqrt()
    return tangent_BTCHW / (flow.shaped_like(size_B, tangent_BTCHW) + constant)


def continuous_loss(function_BTCHW: Tensor, tangent_BTCHW: Tensor, logvar_B: Tensor) -> Tensor:
    """mean over samples of e^{-logvar} ‖F - sg(F) - g‖² / D + logvar (equation 8)."""
    aim_BTCHW = (function_BTCHW + tangent_BTCHW).detach()
    error_B = ((function_BTCHW - aim_BTCHW) ** 2).flatten(1).mean(1)
    return torch.mean(torch.exp(-logvar_B) * error_B + logvar_B)
