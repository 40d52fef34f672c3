"""What teacher and critic make of a student's samples: the two scores, the gradient between them, and what the critic learns.

B batch, T latent frames, C channels, H W latent rows and columns. Knows neither how a sample came about nor when a role is due.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Batch, Draw, Role
from distill_matching.guidance import Guidance
from distill_matching.losses import (
    critic_noise_loss,
    critic_velocity_loss,
    critic_x0_loss,
    dmd_gradient,
)
from distill_matching.options import MatchingOptions, ScoringOptions
from distill_matching.rollout import StudentSample
from distill_matching.score_timesteps import score_timestep


@dataclass(frozen=True)
class Scored:
    """Samples, noised, as teacher and critic denoise them.

    Attributes:
        x_BTCHW: the samples.
        timestep_B: where they were noised to.
        fake_BTCHW: x̂0 of the critic.
        real_BTCHW: x̂0 of the guided teacher.
        features: the teacher's layers that were asked for, with the graph.
    """

    x_BTCHW: Tensor
    timestep_B: Tensor
    fake_BTCHW: Tensor
    real_BTCHW: Tensor
    features: tuple[Tensor, ...] = ()


class Scores:
    """The scores of one run's teacher and critic, at the timesteps and under the guidance of its options."""

    def __init__(self, roles: Mapping[str, Role], options: ScoringOptions) -> None:
        self.student, self.teacher, self.critic = roles["student"], roles["teacher"], roles["critic"]
        self.options = options
        self.guidance = Guidance(self.teacher, options, options.scored_within)

    def timestep(self, sample: StudentSample, batch: Batch, draw: Draw) -> Tensor:
        """Where samples are noised to, [B]."""
        return score_timestep(self.student, self.options, sample, batch, draw)

    def of(
        self,
        sample: StudentSample,
        batch: Batch,
        draw: Draw,
        *,
        layers: tuple[int, ...] = (),
        through: bool = False,
        through_critic: bool = False,
    ) -> Scored:
        """Noise the samples, and let teacher and critic denoise them.

        With ``layers``, those features of the teacher keep the graph: one forward serves score and discriminator. ``through`` keeps the
        graph of both scores too, with respect to the samples, ``through_critic`` that of the critic's alone; otherwise they are constants.
        """
        x_BTCHW, t_B = sample.x_BTCHW, self.timestep(sample, batch, draw)
        wanted = through or bool(layers)
        sigma = flow.sigma_of(t_B, x_BTCHW)
        with torch.set_grad_enabled(wanted or through_critic):
            noisy_BTCHW = flow.noised(x_BTCHW, draw.normal_like("score", x_BTCHW), sigma)
        with torch.set_grad_enabled(wanted):
            condition = batch.condition_of(self.teacher)
            teachers, away_BTCHW = self.guidance.predict(
                noisy_BTCHW, t_B, condition, Ask(features=layers), input_gradients=wanted, through=through
            )
        with torch.set_grad_enabled(through or through_critic):
            velocity_BTCHW = self.critic.predict_velocity(noisy_BTCHW, t_B, batch.condition_of(self.critic))
            fake_BTCHW = flow.denoised(noisy_BTCHW, velocity_BTCHW, sigma)
        with torch.set_grad_enabled(through):
            cond_BTCHW = flow.denoised(noisy_BTCHW, teachers.velocity, sigma)
            real_BTCHW = self.guidance.guided(
                cond_BTCHW, noisy_BTCHW, t_B, condition, sigma=sigma, through=through, away_BTCHW=away_BTCHW
            )
        return Scored(x_BTCHW, t_B, fake_BTCHW, real_BTCHW, teachers.features)

    @torch.no_grad()
    def gradient(self, scored: Scored) -> Tensor:
        """The direction that brings the samples nearer to the teacher's distribution (:func:`~distill_matching.losses.dmd_gradient`).

        For a method whose options say what it is divided by.
        """
        assert isinstance(self.options, MatchingOptions)
        return dmd_gradient(
            scored.x_BTCHW,
            scored.fake_BTCHW,
            scored.real_BTCHW,
            self.options.normalizer,
            self.options.normalizer_floor,
            self.options.normalizer_floor_as,
        )

    def critic_loss(self, sample: StudentSample, batch: Batch, draw: Draw) -> Tensor:
        """Flow matching of the critic on the student's samples."""
        x_BTCHW, t_B = sample.x_BTCHW, self.timestep(sample, batch, draw)
        noise_BTCHW = draw.normal_like("score", x_BTCHW)
        noisy_BTCHW = self.critic.add_noise(x_BTCHW, noise_BTCHW, t_B)
        condition = batch.condition_of(self.critic)
        velocity_BTCHW = self.critic.predict_velocity(noisy_BTCHW, t_B, condition)
        match self.options.critic_loss:
            case "velocity":
                return critic_velocity_loss(velocity_BTCHW, x_BTCHW, noise_BTCHW, sample.first)
            case "x0":
                return critic_x0_loss(flow.x0_of(noisy_BTCHW, velocity_BTCHW, t_B), x_BTCHW, sample.first)
            case "noise":
                return critic_noise_loss(flow.noise_of(noisy_BTCHW, velocity_BTCHW, t_B), noise_BTCHW, sample.first)
