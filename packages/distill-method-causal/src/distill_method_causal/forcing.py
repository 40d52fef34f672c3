"""Flow matching of a causal student: diffusion forcing, after blocks as noisy as they are; teacher forcing, after clean ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core.flow import TRAIN_TIMESTEPS
from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_method_causal.blocks import block_count, of_frames
from distill_method_causal.config import ForcingOptions, TeacherForcingOptions
from distill_method_causal.losses import bell_weight, forcing_loss

TABLE = 1000
"""Timesteps over which the weights of a loss have mean 1."""


class DiffusionForcing(Method):
    """Diffusion forcing (Chen et al., arXiv 2407.01392): each block at a noise level of its own, after blocks as noisy as they are."""

    def __init__(self, roles: Mapping[str, Role], options: ForcingOptions) -> None:
        self.student = roles["student"]
        self.options = options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """One flow-matching loss over all frames."""
        options, x0_BTCHW = self.options, batch.latents
        t_BT = self._timestep(batch, draw)
        noise_BTCHW = draw.normal_like("noise", x0_BTCHW)
        noisy_BTCHW = self.student.add_noise(x0_BTCHW, noise_BTCHW, t_BT)
        condition = batch.condition_of(self.student)
        if options.caption_dropout > 0:
            condition = self.student.drop_condition(
                condition, draw.bernoulli("caption_dropout", options.caption_dropout)
            )
        velocity_BTCHW = self.student.predict_velocity(noisy_BTCHW, t_BT, condition, self._ask(batch, draw))
        value = forcing_loss(velocity_BTCHW, x0_BTCHW, noise_BTCHW, self._weight(t_BT, batch))
        yield StagedLoss(role="student", name="loss", value=value)

    def _ask(self, batch: Batch, draw: Draw) -> Ask:
        """How frames attend."""
        return Ask(blocks=self.options.block)

    def _timestep(self, batch: Batch, draw: Draw) -> Tensor:
        """The timestep of each frame, float64 [B, T]; that of its block."""
        options, frames = self.options, batch.latent_shape[0]
        count = block_count(frames, options.block)
        if options.density == "logit_normal":
            normal_Bb = draw.normal("timestep", (count,)).double()
            u_Bb = torch.sigmoid(options.logit_mean + options.logit_std * normal_Bb)
        else:
            u_Bb = draw.uniform("timestep", count=count)
        low, high = options.min_timestep_ratio, options.max_timestep_ratio
        t_Bb = self.student.shift_timestep(TRAIN_TIMESTEPS * (low + (high - low) * u_Bb), batch.latent_shape)
        return of_frames(t_Bb, frames, options.block)

    def _weight(self, t_BT: Tensor, batch: Batch) -> Tensor | None:
        """The weight of each frame's loss, [B, T], or None where all weigh the same."""
        if self.options.loss_weighting == "none":
            return None
        even = TRAIN_TIMESTEPS * (1.0 - torch.arange(TABLE, dtype=torch.float64, device=t_BT.device) / TABLE)
        return bell_weight(t_BT, self.student.shift_timestep(even, batch.latent_shape))

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)

    def validation(self, step: int) -> ValidationRequest:
        """The student block by block; steps and guidance are the run's to say."""
        return self.options.sampling()


class TeacherForcing(DiffusionForcing):
    """Teacher forcing: each block after the clean blocks of the data (Self-Forcing, arXiv 2506.08009, section 3.1, its baseline "TF").

    One pass has the clean clip and the noisy one: a noisy block sees itself and the clean blocks before it.
    """

    options: TeacherForcingOptions

    def __init__(self, roles: Mapping[str, Role], options: TeacherForcingOptions) -> None:
        super().__init__(roles, options)

    def _ask(self, batch: Batch, draw: Draw) -> Ask:
        """How frames attend, and the clean clip."""
        return Ask(blocks=self.options.block, clean=self._context(batch, draw.within("context")))

    def _context(self, batch: Batch, draw: Draw) -> Tensor:
        """The clean clip, or what is a little noisy of it. Its noise is its own: sharing it would tell the student the target's."""
        x0_BTCHW, options = batch.latents, self.options
        if options.context_noise == 0.0:
            return x0_BTCHW
        frames = batch.latent_shape[0]
        t_Bb = draw.uniform("timestep", 0.0, options.context_noise, count=block_count(frames, options.block))
        t_BT = of_frames(t_Bb, frames, options.block)
        return self.student.add_noise(x0_BTCHW, draw.normal_like("noise", x0_BTCHW), t_BT)
