"""Truncated consistency: the second stage of a consistency model, which spends itself on high noise alone (TCM, arXiv 2410.14895)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_method_consistency.config import TcmOptions
from distill_method_consistency.curriculum import earlier_sigma
from distill_method_consistency.losses import LARGEST, distance, truncated_student_t, weights
from distill_method_consistency.pairs import Pair, make_pair


class Tcm(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: TcmOptions) -> None:
        self.student, self.first_stage = roles["student"], roles["first_stage"]
        self.teacher = roles["teacher"] if options.teacher else None
        self.options = options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """L_consistency + w_b · L_boundary (TCM, equation 9). Each sample is of one of the two, and counts by how often that is: no mean is
        over a part of the batch, which may be empty."""
        options = self.options
        boundary_B = draw.bernoulli("boundary", options.boundary_share)
        t_B, r_B = self.times(draw, boundary_B)
        noise_BTCHW = draw.normal_like("noise", batch.latents)
        pair = make_pair(self.student, self.teacher, batch, noise_BTCHW, t_B, r_B, options.guidance_scale)
        aim_BTCHW = self._target(pair, batch)
        x0_BTCHW = self.student.predict_x0(pair.later_BTCHW, t_B, batch.condition_of(self.student))
        apart_B = distance(x0_BTCHW, aim_BTCHW, options.distance, options.huber_constant)
        step_B = torch.where(boundary_B, 0.0, r_B)  # a boundary sample has no step; its weight is its own
        consistency_B = weights(t_B / 1000.0, step_B / 1000.0, options.weighting) / (1.0 - options.boundary_share)
        weight_B = torch.where(boundary_B, options.boundary_weight / options.boundary_share, consistency_B)
        yield StagedLoss("student", "loss", (weight_B.float() * apart_B).mean(), {"distance": apart_B.detach().mean()})

    def times(self, draw: Draw, boundary_B: Tensor) -> tuple[Tensor, Tensor]:
        """t and r, float64 [B]: both the transition for samples of the boundary."""
        start = self.options.transition / 1000.0
        low = math.log(start / (1.0 - start))
        drawn_B = truncated_student_t(
            draw.uniform("timestep"), low, math.log(LARGEST), self.options.density_freedom, self.options.density_scale
        )
        t_B = 1000.0 * torch.sigmoid(drawn_B)
        r_B = 1000.0 * earlier_sigma(t_B / 1000.0, self.options.max_ratio, self.options.curve)
        transition_B = torch.full_like(t_B, self.options.transition)
        return torch.where(boundary_B, transition_B, t_B), torch.where(boundary_B, transition_B, r_B)

    @torch.no_grad()
    def _target(self, pair: Pair, batch: Batch) -> Tensor:
        """x̂0 at the earlier state: of the first stage up to the transition, of the student itself above it (equation 6)."""
        first_BTCHW = self.first_stage.predict_x0(pair.earlier_BTCHW, pair.r_B, batch.condition_of(self.first_stage))
        own_BTCHW = self.student.predict_x0(pair.earlier_BTCHW, pair.r_B, batch.condition_of(self.student))
        below = flow.shaped_like(pair.r_B <= self.options.transition, own_BTCHW)
        return torch.where(below, first_BTCHW, own_BTCHW)

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used."""
        return self.options.sampling(
            lambda timestep: self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
        )
