"""The diversity term of LightX2V's DMD: the student's first step heads where the teacher's first steps from the same noise do.

Few-step students lose their variety in the first step, where the layout is decided. Matching is left to the later ones.
"""

from __future__ import annotations

import torch
from torch import Tensor


def velocity_to(noise_BTCHW: Tensor, anchor_BTCHW: Tensor, anchor_sigma: float) -> Tensor:
    """v = (ε - x_σ) / (1 - σ): the constant velocity that leads from noise to ``anchor_BTCHW`` at σ."""
    return (noise_BTCHW - anchor_BTCHW) / (1.0 - anchor_sigma)


def diversity_loss(velocity_BTCHW: Tensor, target_BTCHW: Tensor) -> Tensor:
    """mean (v - v_teacher)², of the velocity at pure noise."""
    return torch.mean((velocity_BTCHW.float() - target_BTCHW.float()) ** 2)
