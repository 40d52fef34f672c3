"""A causal student by turns with a discriminator alone, on the frozen teacher's features: no score, no critic (Self-Forcing's "GAN")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch

from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_matching.adversary import Adversary
from distill_matching.discriminator import generator_loss
from distill_matching.rollout import StudentSample
from distill_matching.score_timesteps import score_timestep
from distill_method_self_forcing.config import CausalMatchingOptions


class Adversarial(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(
        self,
        roles: Mapping[str, Role],
        options: CausalMatchingOptions,
        clips: Callable[[tuple[float, ...]], Callable[[Batch, Draw], StudentSample]],
    ) -> None:
        """``clips``: what makes the student's clips, given its timesteps."""
        self.student, self.teacher, self.options = roles["student"], roles["teacher"], options
        self.clips = clips(options.warped(self._shift))
        self.adversary = Adversary(
            roles, options, lambda sample, batch, draw: score_timestep(self.student, options, sample, batch, draw)
        )

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The student's, where it is due, then the discriminator's."""
        sample: StudentSample | None = None
        due = self.roles_to_step(draw.step)
        if "student" in due:
            sample = self.clips(batch, draw.within("student"))
            yield self._student_loss(sample, batch, draw.within("student"))
            sample = sample.detach()
        if "discriminator" not in due:
            return
        if sample is None or not self.options.critic_reuses_student_sample:
            with torch.no_grad():
                sample = self.clips(batch, draw.within("critic"))
        yield self.adversary.loss(sample, batch, draw.within("discriminator"), done=("student",))

    def _student_loss(self, sample: StudentSample, batch: Batch, draw: Draw) -> StagedLoss:
        """What the discriminator says of the noised clip, with the gradient through the frozen teacher."""
        t_B = self.adversary.timestep(sample, batch, draw)
        noisy_BTCHW = self.student.add_noise(sample.x_BTCHW, draw.normal_like("score", sample.x_BTCHW), t_B)
        ask, condition = Ask(features=self.adversary.layers), batch.condition_of(self.teacher)
        seen = self.teacher.predict(noisy_BTCHW, t_B, condition, ask, input_gradients=True)
        value = generator_loss(self.adversary.logit(seen.features))
        return StagedLoss(role="student", name="student_loss", value=value)

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The discriminator on every step, the student too on every ``generator_update_interval``-th."""
        return self.options.roles_to_step(step)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used: block by block, its own steps, one evaluation each."""
        return self.options.sampling(self._shift)

    def _shift(self, timestep: float) -> float:
        """The run's flow shift of a timestep."""
        return self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
