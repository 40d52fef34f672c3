"""Knowledge distillation: a few-step student learns where its teacher's ODE takes a noise (Luhman and Luhman, arXiv 2101.02388)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_method_kd.config import KdOptions
from distill_method_kd.losses import end_loss
from distill_method_kd.paths import teacher_paths, warped_steps


class Kd(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: KdOptions) -> None:
        self.student = roles["student"]
        self.teacher = roles.get("teacher")
        self.options = options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """One regression onto the ends of the teacher's paths."""
        path_BSTCHW = self._paths(batch, draw)
        chain = self.options.loss == "chain"
        x0_BTCHW = self._chain(path_BSTCHW, batch) if chain else self._from_a_state(path_BSTCHW, batch, draw)
        yield StagedLoss(role="student", name="loss", value=end_loss(x0_BTCHW, path_BSTCHW[:, -1]))

    def _paths(self, batch: Batch, draw: Draw) -> Tensor:
        """[B, S + 1, T, C, H, W], out of the data, or made now."""
        if self.options.trajectories == "stored":
            path_BSTCHW: Tensor = batch.tensors["trajectory"].float()
            return path_BSTCHW
        assert self.teacher is not None
        return teacher_paths(self.teacher, self.options, batch, draw)

    def _from_a_state(self, path_BSTCHW: Tensor, batch: Batch, draw: Draw) -> Tensor:
        """x̂0 from one of the states at the student's timesteps, drawn per sample."""
        drawn_B = draw.choice("state", self.options.places).long()
        steps = torch.tensor(warped_steps(self.student, self.options, batch), dtype=torch.float64)
        x_BTCHW = path_BSTCHW[torch.arange(batch.size, device=drawn_B.device), drawn_B]
        return self._x0(x_BTCHW, steps.to(drawn_B.device)[drawn_B], batch)

    def _chain(self, path_BSTCHW: Tensor, batch: Batch) -> Tensor:
        """The student's own end: an Euler step from each of its timesteps to the next and to 0, all in one graph."""
        kept, x_BTCHW = warped_steps(self.student, self.options, batch), path_BSTCHW[:, 0]
        for timestep, following in pairwise((*(kept[place] for place in self.options.places), 0.0)):
            t_B, next_B = flow.timestep_of(timestep, x_BTCHW), flow.timestep_of(following, x_BTCHW)
            x_BTCHW = flow.move(x_BTCHW, self._x0(x_BTCHW, t_B, batch), t_B, next_B)
        return x_BTCHW

    def _x0(self, x_BTCHW: Tensor, t_B: Tensor, batch: Batch) -> Tensor:
        return self.student.predict_x0(x_BTCHW, t_B, batch.condition_of(self.student), Ask(self.options.attn_kind))

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used: its own steps along the flow, one evaluation each."""
        return self.options.sampling(
            lambda timestep: self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
        )
