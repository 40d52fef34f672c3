"""Consistency in continuous time on TrigFlow (sCM: Lu and Song, arXiv 2410.11081)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_method_consistency.config import ScmOptions
from distill_method_consistency.tangent import continuous_loss, normalised, tangent


class Scm(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: ScmOptions) -> None:
        self.student = roles["student"]
        self.teacher = roles["teacher"] if options.teacher else None
        self.variance = roles["logvar"].module if options.learn_variance else None
        self.options = options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The student follows its own tangent, which is a constant of the loss."""
        options, noise_BTCHW = self.options, draw.normal_like("noise", batch.latents)
        angle_B = self._angle(draw)
        state = flow.TrigState.of(batch.latents, noise_BTCHW, angle_B, options.sigma_data)
        dx_BTCHW = self._slope(state, batch, noise_BTCHW)
        rate_B = angle_B.cos() * angle_B.sin()
        along_BTCHW = state.cos * state.sin * dx_BTCHW
        prediction = flow.predict_along(
            self.student,
            state.noisy,
            state.timestep,
            batch.condition_of(self.student),
            Ask(along=state.tangents(along_BTCHW, rate_B)),
            options.difference_step if options.derivative == "differences" else None,
        )
        assert prediction.derivative is not None
        held_BTCHW = prediction.velocity.detach()
        derivative_BTCHW = state.derivative_of(held_BTCHW, prediction.derivative, along_BTCHW, rate_B)
        raw_BTCHW = tangent(state, state.function_of(held_BTCHW), dx_BTCHW, derivative_BTCHW, options.warmup(draw.step))
        function_BTCHW = state.function_of(prediction.velocity)
        logvar_B = torch.zeros_like(angle_B) if self.variance is None else self.variance(angle_B).double()
        value = continuous_loss(function_BTCHW, normalised(raw_BTCHW, options.tangent_constant), logvar_B)
        roles = ("student",) if self.variance is None else ("student", "logvar")
        size_B = raw_BTCHW.square().flatten(1).mean(1).sqrt()
        yield StagedLoss(roles, "loss", value.float(), {"tangent": size_B.mean().float()})

    def _angle(self, draw: Draw) -> Tensor:
        """t̂ = atan(e^τ / σ_d), τ normal (section 4.1), float64 [B]."""
        tau_B = self.options.angle_mean + self.options.angle_std * draw.normal("angle", ()).double()
        return torch.atan(tau_B.exp() / self.options.sigma_data)

    def _slope(self, state: flow.TrigState, batch: Batch, noise_BTCHW: Tensor) -> Tensor:
        """dx̂/dt̂: σ_d F of the guided teacher, or cos t̂ z - sin t̂ x0 of the clip itself."""
        if self.teacher is None:
            return state.cos * state.sigma_data * noise_BTCHW.double() - state.sin * batch.latents.double()
        condition = batch.condition_of(self.teacher)
        velocity_BTCHW = flow.guided_velocity(
            self.teacher, state.noisy, state.timestep, condition, self.options.guidance_scale
        )
        return state.sigma_data * state.function_of(velocity_BTCHW)

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student and what learns its variance, on every step."""
        return ("student", "logvar") if self.options.learn_variance else ("student",)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used."""
        return self.options.sampling(
            lambda timestep: self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
        )
