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


@torch.no_grad()
def teacher_paths(teacher: Role, options: KdOptions, batch: Batch, draw: Draw) -> Tensor:
    """A path for each sample of a batch, [B, S + 1, T, C, H, W]: Euler steps of the guided teacher (arXiv 2101.02388, section 3)."""
    kept = warped_steps(teacher, options, batch)
    uniform = torch.tensor(flow.shifted_uniform_grid(options.teacher_steps, 1.0), dtype=torch.float64)
    grid = flow.grid_through(teacher.shift_timestep(uniform, batch.latent_shape).tolist(), kept)
    condition = batch.condition_of(teacher)

    def velocity(x_BTCHW: Tensor, t_B: Tensor) -> Tensor:
        """The guided one."""
        return flow.guided_velocity(teacher, x_BTCHW, t_B, condition, options.guidance_scale)

    return flow.flow_states(velocity, draw.normal("start", batch.latent_shape), grid, kept)


class PathMaker:
    """The :class:`distill_core.protocols.ColumnMaker`: paths that are stored in the data before a run."""

    def __init__(self, roles: Mapping[str, Role], options: KdOptions) -> None:
        self.teacher = roles["teacher"]
        self.options = options

    def make(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """The column "trajectory", [B, S + 1, T, C, H, W]."""
        return {"trajectory": teacher_paths(self.teacher, self.options, batch, draw)}
