"""The regression term of DMD (arXiv 2311.18828, section 4.2): the student's first step should end where the teacher's flow does.

The gradient of a KL seeks modes: students stand nearer together than the teacher's samples. A target for each noise holds them
apart. DMD kept a stored set of pairs; here the pairs are made as they are needed, so that there is nothing to store or to resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Condition, Role
from distill_method_dmd2.losses import guided


@torch.no_grad()
def teacher_sample(
    teacher: Role, noise_BTCHW: Tensor, condition: Condition, grid: Sequence[float], scale: float
) -> Tensor:
    """Euler steps of the guided teacher from pure noise down the timesteps of ``grid``, which starts at 1000 and ends at 0."""
    x_BTCHW = noise_BTCHW
    for timestep, following in pairwise(grid):
        t_B, next_B = (
            torch.full((len(x_BTCHW),), each, dtype=torch.float64, device=x_BTCHW.device)
            for each in (timestep, following)
        )
        x0_BTCHW = teacher.predict_x0(x_BTCHW, t_B, condition)
        if scale != 1.0:
            uncond_BTCHW = teacher.predict_x0(x_BTCHW, t_B, teacher.unconditional(condition))
            x0_BTCHW = guided(x0_BTCHW, uncond_BTCHW, scale)
        x_BTCHW = flow.move(x_BTCHW, x0_BTCHW, t_B, next_B)
    return x_BTCHW


def regression_loss(x_BTCHW: Tensor, target_BTCHW: Tensor) -> Tensor:
    """mean (x - y)², in latents; DMD's own is LPIPS, in pixels."""
    return torch.mean((x_BTCHW.float() - target_BTCHW.float()) ** 2)
