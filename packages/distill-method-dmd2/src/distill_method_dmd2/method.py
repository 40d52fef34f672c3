"""DMD2 (Yin et al., arXiv 2405.14867): a student that matches the teacher's distribution, by the difference of two scores.

A critic learns the score of the student's own samples (every step, or every one that is not the student's). The student moves its samples
along the difference between the teacher's and the critic's denoising of them (every ``generator_update_interval`` steps).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from distill_core.flow import TRAIN_TIMESTEPS
from distill_core.protocols import Ask, Batch, Draw, Role, StagedLoss
from distill_core.training.rewards import rewards_of
from distill_matching.adversary import Adversary
from distill_matching.alternating import Alternating
from distill_matching.discriminator import generator_loss
from distill_matching.losses import dmd_loss
from distill_matching.rollout import StudentSample
from distill_matching.teacher_walk import teacher_sample
from distill_method_dmd2.config import Dmd2Options
from distill_method_dmd2.diversity import diversity_loss, velocity_to
from distill_method_dmd2.regression import regression_loss


class Dmd2(Alternating):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: Dmd2Options) -> None:
        super().__init__(roles, options)
        self.options, self.teacher = options, roles["teacher"]
        if options.gan_weight:
            self.adversary = Adversary(roles, options, self.scores.timestep)
        self.rewards = rewards_of(roles["rewards"]) if options.reward_weight else None
        self.first_exit = 1 if options.diversity_weight else 0
        self.up_to_step = options.score_ceiling == "step"

    def student_loss(self, sample: StudentSample, batch: Batch, draw: Draw) -> StagedLoss:
        """Noise the sample, let critic and teacher denoise it, and move it along their difference; raise the rewards of finished clips."""
        layers = () if self.adversary is None else self.adversary.layers
        scored = self.scores.of(sample, batch, draw, layers=layers)
        gradient_BTCHW = self.scores.gradient(scored)
        value = dmd_loss(sample.x_BTCHW, gradient_BTCHW)
        metrics = {"dmd_gradient_norm": gradient_BTCHW.flatten(1).norm(dim=1).mean()}
        if self.adversary is not None:
            gan_loss = generator_loss(self.adversary.logit(scored.features))
            value, metrics = value + self.options.gan_weight * gan_loss, {**metrics, "gan_loss": gan_loss.detach()}
        if self.rewards is not None and self._updates(draw) % self.options.reward_interval == 0:
            last = [index for index, following in enumerate(sample.next_B.tolist()) if following == 0.0]
            if last:
                pixels_BFCHW = self.student.decode_pixels(sample.x_BTCHW[last])
                each = self.rewards.each(pixels_BFCHW, [batch.rows[index].caption for index in last])
                value = value - self.options.reward_weight * self.rewards.total(each).sum() / batch.size
                metrics |= {f"reward/{name}": score_B.detach().mean() for name, score_B in each.items()}
        return StagedLoss(role="student", name="student_loss", value=value, metrics=metrics)

    def _updates(self, draw: Draw) -> int:
        """How many the student has had by now."""
        return draw.step // self.options.generator_update_interval

    def further_losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The diversity term; and the regression, on every ``regression_interval``-th of the student's updates."""
        if self.options.diversity_weight > 0.0:
            yield self._diversity(batch, draw.within("diversity"))
        if self.options.regression_weight > 0.0 and self._updates(draw) % self.options.regression_interval == 0:
            yield self._regression(batch, draw.within("regression"))

    def _diversity(self, batch: Batch, draw: Draw) -> StagedLoss:
        """The student's first velocity from a noise, and the one that leads to where the teacher's first steps do."""
        noise_BTCHW = draw.normal("start", batch.latent_shape)
        grid = self._teachers_grid(self.options.diversity_steps, batch)[: self.options.diversity_anchor + 1]
        anchor_BTCHW = teacher_sample(
            self.teacher, noise_BTCHW, batch.condition_of(self.teacher), grid, self.options.scale
        )
        first_B = torch.full((batch.size,), self.steps[0], dtype=torch.float64, device=noise_BTCHW.device)
        condition, ask = batch.condition_of(self.student), Ask(self.options.attn_kind)
        velocity_BTCHW = self.student.predict_velocity(noise_BTCHW, first_B, condition, ask)
        target_BTCHW = velocity_to(noise_BTCHW, anchor_BTCHW, grid[-1] / TRAIN_TIMESTEPS)
        loss = diversity_loss(velocity_BTCHW, target_BTCHW)
        metrics = {"diversity_error": loss.detach()}
        return StagedLoss("student", "diversity_loss", self.options.diversity_weight * loss, metrics)

    def _regression(self, batch: Batch, draw: Draw) -> StagedLoss:
        """The student's first step from a noise, and where the teacher's flow carries that noise."""
        noise_BTCHW = draw.normal("start", batch.latent_shape)
        grid = self._teachers_grid(self.options.regression_steps, batch)
        target_BTCHW = teacher_sample(
            self.teacher, noise_BTCHW, batch.condition_of(self.teacher), grid, self.options.regression_scale
        )
        first_B = torch.full((batch.size,), self.steps[0], dtype=torch.float64, device=noise_BTCHW.device)
        condition, ask = batch.condition_of(self.student), Ask(self.options.attn_kind)
        loss = regression_loss(self.student.predict_x0(noise_BTCHW, first_B, condition, ask), target_BTCHW)
        metrics = {"regression_error": loss.detach()}
        return StagedLoss("student", "regression_loss", self.options.regression_weight * loss, metrics)

    def _teachers_grid(self, steps: int, batch: Batch) -> list[float]:
        """The timesteps of so many Euler steps, from 1000 to 0, shifted as the run's samples are."""
        uniform = torch.linspace(TRAIN_TIMESTEPS, 0.0, steps + 1, dtype=torch.float64)
        grid: list[float] = self.student.shift_timestep(uniform, batch.latent_shape).tolist()
        return grid

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The critic on every step, the student too on every ``generator_update_interval``-th, or there in its stead."""
        return self.options.roles_to_step(step)

    def keeps(self, step: int) -> Mapping[str, float]:
        """The critic is drawn to the student where the options say so (IDA of LightX2V)."""
        return {"critic": self.options.critic_keeps} if self.options.critic_keeps < 1.0 else {}
