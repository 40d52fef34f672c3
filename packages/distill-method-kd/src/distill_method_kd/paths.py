"""The teacher's ODE paths: from pure noise to a sample, with the states on the way that a student starts from.

A path is [S + 1, T, C, H, W]: the noise, the states at further timesteps, and the end, all normalised.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Batch, Draw, Role
from distill_method_kd.config import KdOptions


def warped_steps(role: Role, options: KdOptions, batch: Batch) -> tuple[float, ...]:
    """The timesteps of a path's states, as the run's flow shift warps them for samples of this shape."""

    def shift(timestep: float) -> float:
        """Of one timestep."""
        return role.shift_timestep(torch.tensor([timestep], dtype=torch.float64), batch.latent_shape).item()

    return options.warped(options.kept_steps, shift)


def teacher_paths(teacher: Role, options: KdOptions, batch: Batch, draw: Draw) -> Tensor:
    """A path for each sample of a batch, [B, S + 1, T, C, H, W]."""
    kept, condition = warped_steps(teacher, options, batch), batch.condition_of(teacher)
    noise_BTCHW = draw.normal("start", batch.latent_shape)
    return flow.guided_paths(
        teacher, noise_BTCHW, condition, kept, steps=options.teacher_steps, scale=options.guidance_scale
    )


class PathMaker:
    """The :class:`distill_core.protocols.ColumnMaker`: paths that are stored in the data before a run."""

    def __init__(self, roles: Mapping[str, Role], options: KdOptions) -> None:
        self.teacher = roles["teacher"]
        self.options = options

    def make(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """The column "trajectory", [B, S + 1, T, C, H, W]."""
        return {"trajectory": teacher_paths(self.teacher, self.options, batch, draw)}
