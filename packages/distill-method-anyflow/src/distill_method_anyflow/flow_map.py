"""The first stage: a student that jumps between any two times (AnyFlow, arXiv 2605.13724: "forward training", z_t to z_r).

Its own equations could not be looked up, so none is cited; :mod:`~distill_method_anyflow.losses` cites its code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Batch, Condition, Draw, Method, Role, StagedLoss, Tangents, ValidationRequest
from distill_method_anyflow.config import AnyFlowOptions
from distill_method_anyflow.losses import map_loss, map_target


class FlowMap(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: AnyFlowOptions) -> None:
        self.student = roles["student"]
        self.guide = roles["teacher"] if options.velocity == "teacher" else None
        self.options = options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The map's regression."""
        yield StagedLoss("student", "map_loss", self.map_loss(batch, draw))

    def map_loss(self, batch: Batch, draw: Draw) -> Tensor:
        """F(x_t, t, r) against v - (t - r) dF/dt, v and dF/dt of the guided flow."""
        options, noise_BTCHW = self.options, draw.normal_like("noise", batch.latents)
        t_B, r_B = self.times(batch, draw)
        noisy_BTCHW = self.student.add_noise(batch.latents, noise_BTCHW, t_B)
        dropped_B = draw.bernoulli("caption_dropout", options.caption_dropout)
        condition = self._dropped(self.student, batch, dropped_B)
        velocity_BTCHW = self._velocity(noisy_BTCHW, noise_BTCHW - batch.latents, t_B, dropped_B, batch)
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
        target_BTCHW = map_target(velocity_BTCHW, prediction.derivative, t_B / 1000.0, r_B / 1000.0)
        return map_loss(
            prediction.velocity,
            target_BTCHW,
            t_B / 1000.0,
            r_B < t_B,
            options.interval_weight,
            options.interval_constant,
        )

    def times(self, batch: Batch, draw: Draw) -> tuple[Tensor, Tensor]:
        """t ≥ r, float64 [B]: each sample by itself draws its kind, so that a batch of one has them all in turn."""
        options = self.options
        one_B, two_B = (
            self.student.shift_timestep(1000.0 * draw.uniform(name), batch.latent_shape)
            for name in ("one time", "other time")
        )
        kind_B = draw.uniform("kind")
        diffusion_B = kind_B < options.diffusion_share
        random_B = kind_B >= options.diffusion_share + options.consistency_share
        t_B = torch.where(random_B, torch.maximum(one_B, two_B), one_B)
        r_B = torch.where(random_B, torch.minimum(one_B, two_B), torch.zeros_like(t_B))
        return t_B, torch.where(diffusion_B, t_B, r_B)

    def _dropped(self, role: Role, batch: Batch, dropped_B: Tensor) -> Condition:
        condition = batch.condition_of(role)
        return role.drop_condition(condition, dropped_B) if self.options.caption_dropout else condition

    @torch.no_grad()
    def _velocity(self, noisy_BTCHW: Tensor, own_BTCHW: Tensor, t_B: Tensor, dropped_B: Tensor, batch: Batch) -> Tensor:
        """v of the guided flow: u + s (v - u), u without a caption; samples whose caption is dropped have no guidance."""
        scale = self.options.map_guidance_scale
        if self.guide is not None:
            condition = self._dropped(self.guide, batch, dropped_B)
            if scale == 1.0:
                return self.guide.predict_velocity(noisy_BTCHW, t_B, condition)
            own_BTCHW, uncond_BTCHW = flow.both_sides(self.guide, noisy_BTCHW, t_B, condition)
        elif scale == 1.0:
            return own_BTCHW
        else:
            empty = self.student.drop_condition(batch.condition_of(self.student), torch.ones_like(dropped_B))
            uncond_BTCHW = self.student.predict_velocity(noisy_BTCHW, t_B, empty, Ask(until=t_B))
        guided_BTCHW = uncond_BTCHW + scale * (own_BTCHW - uncond_BTCHW)
        return torch.where(flow.shaped_like(dropped_B, own_BTCHW), own_BTCHW, guided_BTCHW)

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used."""
        return self.options.sampling(lambda timestep: timestep)
