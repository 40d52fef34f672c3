"""Where the guided teacher's flow carries a noise: a target that the student's samples can be held to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Condition, Role
from distill_matching.losses import guided


@torch.no_grad()
def teacher_sample(
    teacher: Role, noise_BTCHW: Tensor, condition: Condition, grid: Sequence[float], scale: float
) -> Tensor:
    """Euler steps of the guided teacher from ``noise_BTCHW`` down the timesteps of ``grid``, to where it ends: 0 for a sample."""
    x_BTCHW = noise_BTCHW
    for timestep, following in pairwise(grid):
        t_B, next_B = (torch.full((len(x_BTCHW),), each, dtype=torch.float64) for each in (timestep, following))
        if scale == 1.0:
            x0_BTCHW = teacher.predict_x0(x_BTCHW, t_B, condition)
        else:
            cond_BTCHW, uncond_BTCHW = (
                flow.x0_of(x_BTCHW, side_BTCHW, t_B) for side_BTCHW in flow.both_sides(teacher, x_BTCHW, t_B, condition)
            )
            x0_BTCHW = guided(cond_BTCHW, uncond_BTCHW, scale)
        x_BTCHW = flow.move(x_BTCHW, x0_BTCHW, t_B, next_B)
    return x_BTCHW
