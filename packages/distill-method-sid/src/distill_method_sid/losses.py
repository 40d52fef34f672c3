"""The losses of SGMD, score-gradient matching distillation, as LightX2V has it. B batch, T frames, C channels, H W rows and columns."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core.flow import sigma_of

FLOOR = 1e-8
"""Added to what the Fisher term is divided by."""


def fisher_term(x_BTCHW: Tensor, fake_BTCHW: Tensor, real_BTCHW: Tensor) -> Tensor:
    """½ mean (f - r)² / (mean |x - r| + 1e-8): a Fisher divergence. The gradient goes through f; r and the divisor are constants."""
    x, f, r = x_BTCHW.float(), fake_BTCHW.float(), real_BTCHW.float().detach()
    distance = (x - r).abs().mean(dim=(1, 2, 3, 4), keepdim=True).detach()
    return 0.5 * torch.mean((f - r) ** 2 / (distance + FLOOR))


def correction(x_BTCHW: Tensor, fake_BTCHW: Tensor, timestep_B: Tensor) -> Tensor:
    """½ mean (f - sg(f - (f - x) / σ))²: its value is ½ mean ((f - x) / σ)², its derivative with respect to f is (f - x) / σ."""
    x, f = x_BTCHW.float(), fake_BTCHW.float()
    target = (f - (f - x) / sigma_of(timestep_B, f)).detach()
    return 0.5 * torch.mean((f - target) ** 2)
