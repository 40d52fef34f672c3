"""DMD2 (Yin et al., arXiv 2405.14867): a student that matches the teacher's distribution, by the difference of two scores.

A critic learns the score of the student's own samples (every step, or every one that is not the student's). The student moves its samples
along the difference between the teacher's and the critic's denoising of them (every ``generator_update_interval`` steps).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Batch, Draw, Method, Prediction, Role, StagedLoss, ValidationRequest
from distill_method_dmd2.config import Dmd2Options
from distill_method_dmd2.discriminator import Discriminator, approximate_r1, discriminator_loss, generator_loss
from distill_method_dmd2.losses import (
    critic_noise_loss,
    critic_velocity_loss,
    critic_x0_loss,
    dmd_gradient,
    dmd_loss,
    guidance_at,
    guided,
)
from distill_method_dmd2.regression import regression_loss, teacher_sample
from distill_method_dmd2.rollout import StudentSample, student_sample
from distill_method_dmd2.score_timesteps import score_timestep


class Dmd2(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: Dmd2Options) -> None:
        self.student, self.teacher, self.critic = roles["student"], roles["teacher"], roles["critic"]
        self.discriminator = _discriminator(roles["discriminator"]) if options.gan_weight else None
        self.options = options
        self.steps = options.warped(self._shift)

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The losses of the roles that are due, the student's first."""
        sample: StudentSample | None = None
        due = self.roles_to_step(draw.step)
        if "student" in due:
            sample = self._sample(batch, draw.within("student"))
            yield self._student_loss(sample, batch, draw.within("student"))
            sample = sample.detach()
            if self._regresses(draw.step):
                yield self._regression(batch, draw.within("regression"))
        if "critic" not in due:
            return
        if sample is None or not self.options.critic_reuses_student_sample:
            with torch.no_grad():
                sample = self._sample(batch, draw.within("critic"))
        yield self._critic_loss(sample, batch, draw.within("critic"))
        if "discriminator" in due:
            yield self._discriminator_loss(sample, batch, draw.within("discriminator"))

    def _sample(self, batch: Batch, draw: Draw) -> StudentSample:
        return student_sample(
            self.student,
            batch,
            draw,
            self.steps,
            from_data=self.options.rollout == "data_latent",
            move=self.options.rollout_move,
            attn_kind=self.options.attn_kind,
        )

    def _student_loss(self, sample: StudentSample, batch: Batch, draw: Draw) -> StagedLoss:
        """Noise the sample, let critic and teacher denoise it, and move it along their difference."""
        x_BTCHW, t_B = sample.x_BTCHW, self._score_timestep(sample.next_B, batch, draw)
        with torch.set_grad_enabled(self.discriminator is not None):
            noisy_BTCHW = self.student.add_noise(x_BTCHW, draw.normal_like("score", x_BTCHW), t_B)
            teachers = self._teacher(noisy_BTCHW, t_B, batch)
        with torch.no_grad():
            fake_BTCHW = self.critic.predict_x0(noisy_BTCHW, t_B, batch.condition_of(self.critic))
            real_BTCHW = self._guided_teacher(noisy_BTCHW, t_B, batch, teachers.velocity)
            gradient_BTCHW = dmd_gradient(
                x_BTCHW,
                fake_BTCHW,
                real_BTCHW,
                self.options.normalizer,
                self.options.normalizer_floor,
                self.options.normalizer_floor_as,
            )
        value, metrics = (
            dmd_loss(x_BTCHW, gradient_BTCHW),
            {"dmd_gradient_norm": gradient_BTCHW.flatten(1).norm(dim=1).mean()},
        )
        if self.discriminator is not None:
            gan_loss = generator_loss(self.discriminator(teachers.features))
            value, metrics = value + self.options.gan_weight * gan_loss, {**metrics, "gan_loss": gan_loss.detach()}
        return StagedLoss(role="student", name="student_loss", value=value, metrics=metrics)

    def _teacher(self, noisy_BTCHW: Tensor, t_B: Tensor, batch: Batch) -> Prediction:
        """The teacher on noised samples. With a discriminator its features keep the graph: one forward serves score and GAN."""
        layers = () if self.discriminator is None else self.discriminator.layers
        return self.teacher.predict(
            noisy_BTCHW, t_B, batch.condition_of(self.teacher), Ask(features=layers), input_gradients=bool(layers)
        )

    def _regresses(self, step: int) -> bool:
        """Whether the student's update of this step has the regression too."""
        updates = step // self.options.generator_update_interval
        return self.options.regression_weight > 0.0 and updates % self.options.regression_interval == 0

    def _regression(self, batch: Batch, draw: Draw) -> StagedLoss:
        """The student's first step from a noise, and where the teacher's flow carries that noise."""
        noise_BTCHW = draw.normal("start", batch.latent_shape)
        uniform = torch.linspace(1000.0, 0.0, self.options.regression_steps + 1, dtype=torch.float64)
        grid = self.student.shift_timestep(uniform, batch.latent_shape).tolist()
        target_BTCHW = teacher_sample(
            self.teacher, noise_BTCHW, batch.condition_of(self.teacher), grid, self.options.regression_scale
        )
        first_B = torch.full((batch.size,), self.steps[0], dtype=torch.float64, device=noise_BTCHW.device)
        x_BTCHW = self.student.predict_x0(
            noise_BTCHW, first_B, batch.condition_of(self.student), Ask(self.options.attn_kind)
        )
        loss = regression_loss(x_BTCHW, target_BTCHW)
        return StagedLoss(
            role="student",
            name="regression_loss",
            value=self.options.regression_weight * loss,
            metrics={"regression_error": loss.detach()},
        )

    def _guided_teacher(self, noisy_BTCHW: Tensor, t_B: Tensor, batch: Batch, velocity_BTCHW: Tensor) -> Tensor:
        condition = batch.condition_of(self.teacher)
        cond_BTCHW = flow.x0_of(noisy_BTCHW, velocity_BTCHW, t_B)
        if self.options.scale == 1.0:
            return cond_BTCHW
        uncond_BTCHW = self.teacher.predict_x0(noisy_BTCHW, t_B, self.teacher.unconditional(condition))
        return guided(cond_BTCHW, uncond_BTCHW, guidance_at(t_B, self.options.scale, self.options.guidance_range))

    def _critic_loss(self, sample: StudentSample, batch: Batch, draw: Draw) -> StagedLoss:
        """Flow matching of the critic on the student's samples."""
        x_BTCHW, t_B = sample.x_BTCHW, self._score_timestep(sample.next_B, batch, draw)
        noise_BTCHW = draw.normal_like("score", x_BTCHW)
        noisy_BTCHW = self.critic.add_noise(x_BTCHW, noise_BTCHW, t_B)
        condition = batch.condition_of(self.critic)
        velocity_BTCHW = self.critic.predict_velocity(noisy_BTCHW, t_B, condition)
        match self.options.critic_loss:
            case "velocity":
                value = critic_velocity_loss(velocity_BTCHW, x_BTCHW, noise_BTCHW)
            case "x0":
                value = critic_x0_loss(flow.x0_of(noisy_BTCHW, velocity_BTCHW, t_B), x_BTCHW)
            case "noise":
                value = critic_noise_loss(flow.noise_of(noisy_BTCHW, velocity_BTCHW, t_B), noise_BTCHW)
        return StagedLoss(role="critic", name="critic_loss", value=value)

    def _discriminator_loss(self, sample: StudentSample, batch: Batch, draw: Draw) -> StagedLoss:
        """Real clips against the student's samples, both noised, by what the teacher sees in them."""
        judge = self.discriminator
        assert judge is not None
        fake_BTCHW, real_BTCHW = sample.x_BTCHW, batch.latents
        t_B, noise_BTCHW = self._score_timestep(sample.next_B, batch, draw), draw.normal_like("score", fake_BTCHW)
        real_t_B, real_noise_BTCHW = t_B, noise_BTCHW
        if not self.options.gan_same_noise:
            real_t_B = self._score_timestep(sample.next_B, batch, draw.within("real"))
            real_noise_BTCHW = draw.within("real").normal_like("score", fake_BTCHW)

        def judged(clean_BTCHW: Tensor, noise: Tensor, timestep_B: Tensor) -> Tensor:
            """The logit of clips, noised."""
            noisy_BTCHW = self.teacher.add_noise(clean_BTCHW, noise, timestep_B)
            logit_B: Tensor = judge(self._teacher(noisy_BTCHW, timestep_B, batch).features)
            return logit_B

        fake_B, real_B = judged(fake_BTCHW, noise_BTCHW, t_B), judged(real_BTCHW, real_noise_BTCHW, real_t_B)
        value = discriminator_loss(fake_B, real_B)
        right = (fake_B < 0).float().mean() + (real_B > 0).float().mean()
        metrics = {"discriminator_accuracy": right.detach() / 2.0}
        if self.options.gan_r1_weight:
            moved_BTCHW = real_BTCHW + self.options.gan_r1_scale * draw.normal_like("r1", real_BTCHW)
            r1 = approximate_r1(real_B, judged(moved_BTCHW, real_noise_BTCHW, real_t_B))
            value, metrics = value + self.options.gan_r1_weight * r1, {**metrics, "r1": r1.detach()}
        return StagedLoss(role="discriminator", name="discriminator_loss", value=value, metrics=metrics)

    def _score_timestep(self, next_B: Tensor, batch: Batch, draw: Draw) -> Tensor:
        """Where the scores of samples are compared, [B]."""
        return score_timestep(
            self.options, next_B, draw, lambda drawn_B: self.student.shift_timestep(drawn_B, batch.latent_shape)
        )

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The critic on every step, the student too on every ``generator_update_interval``-th, or there in its stead."""
        return self.options.roles_to_step(step)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used: its own steps, one evaluation each."""
        return self.options.sampling(self._shift)

    def _shift(self, timestep: float) -> float:
        """The run's flow shift of a timestep."""
        return self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()


def _discriminator(role: Role) -> Discriminator:
    module = role.module
    assert isinstance(module, Discriminator)
    return module
