"""MeanFlow: the student learns the mean velocity between any two times, and jumps by it (Geng et al., arXiv 2505.13447).

From clips, or in distillation with the guided teacher's velocity in place of the clip's (Align Your Flow, arXiv 2506.14603, section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Batch, Condition, Draw, Method, Role, StagedLoss, Tangents, ValidationRequest
from distill_method_meanflow.config import MeanFlowOptions
from distill_method_meanflow.losses import mean_velocity_target, mixed_velocity, weighed_loss


class MeanFlow(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: MeanFlowOptions) -> None:
        self.student = roles["student"]
        self.teacher = roles["teacher"] if options.velocity == "teacher" else None
        self.options = options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """One regression onto the mean velocity that the student's own derivative implies."""
        options, noise_BTCHW = self.options, draw.normal_like("noise", batch.latents)
        t_B, r_B = self.times(batch, draw)
        noisy_BTCHW = self.student.add_noise(batch.latents, noise_BTCHW, t_B)
        dropped_B = draw.bernoulli("caption_dropout", options.caption_dropout)
        condition = self._dropped(self.student, batch, dropped_B)
        velocity_BTCHW = self._velocity(noisy_BTCHW, noise_BTCHW, t_B, dropped_B, condition, batch)
        ones_B = torch.ones_like(t_B)
        prediction = flow.predict_along(
            self.student,
            noisy_BTCHW,
            t_B,
            condition,
            Ask(until=r_B, along=Tangents(velocity_BTCHW, ones_B, 0.0 * ones_B)),
            options.difference_step if options.derivative == "differences" else None,
        )
        assert prediction.derivative is not None
        target_BTCHW = mean_velocity_target(
            velocity_BTCHW, prediction.derivative, t_B / 1000.0, r_B / 1000.0, options.warmup(draw.step)
        )
        value = weighed_loss(prediction.velocity, target_BTCHW, options.weight_power, options.weight_constant)
        error = (prediction.velocity.detach() - target_BTCHW).square().mean()
        yield StagedLoss("student", "loss", value, {"error": error})

    def times(self, batch: Batch, draw: Draw) -> tuple[Tensor, Tensor]:
        """t ≥ r, float64 [B]: two draws in their order, or the larger twice."""
        one_B, two_B = (self._time(name, batch, draw) for name in ("one time", "other time"))
        t_B = torch.maximum(one_B, two_B)
        interval_B = draw.bernoulli("interval", self.options.interval_share)
        return t_B, torch.where(interval_B, torch.minimum(one_B, two_B), t_B)

    def _time(self, name: str, batch: Batch, draw: Draw) -> Tensor:
        normal_B = draw.normal(name, ()).double()
        t_B = 1000.0 * torch.sigmoid(self.options.logit_mean + self.options.logit_std * normal_B)
        if self.options.timestep_shift is None:
            return self.student.shift_timestep(t_B, batch.latent_shape)
        return flow.shift_timestep(t_B, self.options.timestep_shift)

    def _dropped(self, role: Role, batch: Batch, dropped_B: Tensor) -> Condition:
        condition = batch.condition_of(role)
        return role.drop_condition(condition, dropped_B) if self.options.caption_dropout else condition

    @torch.no_grad()
    def _velocity(
        self,
        noisy_BTCHW: Tensor,
        noise_BTCHW: Tensor,
        t_B: Tensor,
        dropped_B: Tensor,
        condition: Condition,
        batch: Batch,
    ) -> Tensor:
        """v of the moment; samples whose caption is dropped have no guidance."""
        options, own_BTCHW = self.options, noise_BTCHW - batch.latents
        if options.velocity == "data":
            return own_BTCHW
        plain = flow.shaped_like(dropped_B, own_BTCHW)
        if self.teacher is not None:
            theirs = self._dropped(self.teacher, batch, dropped_B)
            if options.guidance_scale == 1.0:
                return self.teacher.predict_velocity(noisy_BTCHW, t_B, theirs)
            cond_BTCHW, uncond_BTCHW = flow.both_sides(self.teacher, noisy_BTCHW, t_B, theirs)
            guided_BTCHW = uncond_BTCHW + options.guidance_scale * (cond_BTCHW - uncond_BTCHW)
            return torch.where(plain, cond_BTCHW, guided_BTCHW)
        ask = Ask(until=t_B)
        cond_BTCHW = self.student.predict_velocity(noisy_BTCHW, t_B, condition, ask)
        empty = self.student.drop_condition(condition, torch.ones_like(dropped_B))
        uncond_BTCHW = self.student.predict_velocity(noisy_BTCHW, t_B, empty, ask)
        mixed_BTCHW = mixed_velocity(
            own_BTCHW, cond_BTCHW, uncond_BTCHW, options.guidance_scale, options.guidance_mixture
        )
        return torch.where(plain, own_BTCHW, mixed_BTCHW)

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used."""
        return self.options.sampling(
            lambda timestep: self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
        )
