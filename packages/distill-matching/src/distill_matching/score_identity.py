"""The loss of score identity distillation (Zhou et al., arXiv 2404.04057) in x0 space, as self-forcing video models use it."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_matching.losses import FloorAs, floored

FLOOR = 1e-5
"""The least that a sample's loss is divided by."""


def sid_loss(
    x_BTCHW: Tensor,
    fake_BTCHW: Tensor,
    real_BTCHW: Tensor,
    alpha: float,
    *,
    floor: float = FLOOR,
    floor_as: FloorAs = "max",
    first: int = 0,
) -> Tensor:
    """mean (r - f) · ((r - x) - α (r - f)) / mean |x - r|, with r and f what teacher and critic make of the noised sample x.

    The fused loss of arXiv 2404.04057, section 4, "SiD: Score identity Distillation" (its number could not be looked up), whose ``x_g`` is
    x here, as ``generator_loss`` of its authors' code (mingyuanzhou/SiD, training/sid_loss.py) multiplies it out. Gradients flow through
    x, and through both scores with respect to x; the divisor (each sample's own) is a constant. The mean is over the frames from
    ``first`` on. Where r = f, it is 0.
    """
    x, f, r = x_BTCHW.float(), fake_BTCHW.float(), real_BTCHW.float()
    distance = (x - r).abs().mean(dim=(1, 2, 3, 4), keepdim=True).detach()
    return torch.mean(((r - f) * ((r - x) - alpha * (r - f)) / floored(distance, floor, floor_as))[:, first:])
