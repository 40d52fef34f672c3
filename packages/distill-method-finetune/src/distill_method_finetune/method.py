"""Finetuning: flow matching on latents and captions, the special case of distillation that has one role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_method_finetune.config import FinetuneOptions
from distill_method_finetune.losses import logit_normal, mode, velocity_loss, x0_loss


class Finetune(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: FinetuneOptions) -> None:
        self.student = roles["student"]
        self.options = options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """One flow-matching loss."""
        x0_BTCHW = batch.latents
        t_B = self.student.shift_timestep(1000.0 * self._density(draw.hosted), batch.latent_shape)
        noise_BTCHW = draw.normal_like("noise", x0_BTCHW)
        noisy_BTCHW = self.student.add_noise(x0_BTCHW, noise_BTCHW, t_B)
        condition = batch.condition_of(self.student)
        if self.options.caption_dropout > 0:
            dropped_B = draw.bernoulli("caption_dropout", self.options.caption_dropout)
            condition = self.student.drop_condition(condition, dropped_B)
        velocity_BTCHW = self.student.predict_velocity(noisy_BTCHW, t_B, condition, Ask(self.options.attn_kind))
        if self.options.loss == "velocity":
            value = velocity_loss(velocity_BTCHW, x0_BTCHW, noise_BTCHW)
        else:
            value = x0_loss(velocity_BTCHW, noisy_BTCHW, x0_BTCHW, t_B / 1000.0)
        yield StagedLoss(role="student", name="loss", value=value)

    def _density(self, draw: Draw) -> Tensor:
        """σ before the shift, float64 [B]."""
        match self.options.weighting_scheme:
            case "uniform":
                return draw.uniform("timestep")
            case "logit_normal":
                return logit_normal(
                    draw.normal("timestep", ()).double(), self.options.logit_mean, self.options.logit_std
                )
            case "mode":
                return mode(draw.uniform("timestep"), self.options.mode_scale)

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)

    def validation(self, step: int) -> ValidationRequest:
        """The student on the family's own schedule and sampler; steps and guidance are the run's to say."""
        return ValidationRequest(role="student", attn_kind=self.options.attn_kind)
