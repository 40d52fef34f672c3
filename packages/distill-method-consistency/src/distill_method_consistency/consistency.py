"""Consistency models with ECT's curriculum: predictions at two states of one flow agree (arXiv 2303.01469, 2406.14548)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core.protocols import Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_method_consistency.config import ConsistencyOptions
from distill_method_consistency.curriculum import earlier_sigma
from distill_method_consistency.losses import distance, weights
from distill_method_consistency.pairs import Pair, make_pair


class Consistency(Method):
    """The :class:`distill_core.protocols.Method` of a student that is its own target."""

    def __init__(self, roles: Mapping[str, Role], options: ConsistencyOptions) -> None:
        self.student = roles["student"]
        self.teacher = roles["teacher"] if options.teacher else None
        self.options = options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """weight · d(x̂0(x_t, t), sg x̂0(x_r, r)) (CM, equations 7 and 10)."""
        t_B = self._timestep(batch, draw)
        r_B = 1000.0 * earlier_sigma(t_B / 1000.0, self.options.ratio(draw.step), self.options.curve)
        noise_BTCHW = draw.normal_like("noise", batch.latents)
        pair = make_pair(self.student, self.teacher, batch, noise_BTCHW, t_B, r_B, self.options.guidance_scale)
        aim_BTCHW = self.target(pair, batch)
        x0_BTCHW = self.student.predict_x0(pair.later_BTCHW, t_B, batch.condition_of(self.student))
        apart_B = distance(x0_BTCHW, aim_BTCHW, self.options.distance, self.options.huber_constant)
        weight_B = weights(t_B / 1000.0, r_B / 1000.0, self.options.weighting)
        yield StagedLoss("student", "loss", (weight_B.float() * apart_B).mean(), {"distance": apart_B.detach().mean()})

    @torch.no_grad()
    def target(self, pair: Pair, batch: Batch) -> Tensor:
        """x̂0 at the earlier state. At r = 0 it is that state itself, by x̂0 = x - σ v: the boundary that the theory asks for."""
        return self.student.predict_x0(pair.earlier_BTCHW, pair.r_B, batch.condition_of(self.student))

    def _timestep(self, batch: Batch, draw: Draw) -> Tensor:
        """t, float64 [B]."""
        if self.options.timestep_density == "uniform":
            sigma_B = draw.uniform("timestep")
        else:
            logit_B = self.options.logit_mean + self.options.logit_std * draw.normal("timestep", ()).double()
            sigma_B = torch.sigmoid(logit_B)
        shifted_B = self.student.shift_timestep(1000.0 * sigma_B, batch.latent_shape)
        return shifted_B.clamp(min=self.options.min_timestep)

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used."""
        return self.options.sampling(
            lambda timestep: self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
        )


class AveragedConsistency(Consistency):
    """The same with the student's moving average for a target (CM, section 4)."""

    def __init__(self, roles: Mapping[str, Role], options: ConsistencyOptions) -> None:
        super().__init__(roles, options)
        self.average = roles["target"]

    def target(self, pair: Pair, batch: Batch) -> Tensor:
        """x̂0 of the average."""
        return self.average.predict_x0(pair.earlier_BTCHW, pair.r_B, batch.condition_of(self.average))

    def keeps(self, step: int) -> Mapping[str, float]:
        """μ of θ⁻ ← μ θ⁻ + (1 - μ) θ (CM, equation 8)."""
        return {"target": self.options.target_decay}


def make(roles: Mapping[str, Role], options: ConsistencyOptions) -> Consistency:
    """The method that the options ask for."""
    return Consistency(roles, options) if options.target == "student" else AveragedConsistency(roles, options)
