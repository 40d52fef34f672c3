"""LADD (Sauer et al., arXiv 2403.12015): a few-step student that a discriminator on the teacher's features cannot tell from data.

There is no critic and no score: the teacher is a network of features alone. On its own steps the student denoises, its sample is noised,
and the frozen teacher's features of it should look like those of real clips; on all others the discriminator learns to tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_matching.adversary import Adversary
from distill_matching.discriminator import generator_loss
from distill_matching.rollout import StudentSample, student_sample
from distill_matching.score_timesteps import score_timestep
from distill_method_ladd.config import LaddOptions


class Ladd(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: LaddOptions) -> None:
        self.student, self.teacher = roles["student"], roles["teacher"]
        self.options = options
        self.steps = options.warped(self._shift)
        self.adversary = Adversary(roles, options, self._timestep)

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The loss of the one role that is due."""
        if "student" in self.roles_to_step(draw.step):
            draw = draw.within("student")
            yield self._student_loss(self._sample(batch, draw), batch, draw)
            return
        draw = draw.within("discriminator")
        with torch.no_grad():
            sample = self._sample(batch, draw)
        yield self.adversary.loss(sample, batch, draw)

    def _student_loss(self, sample: StudentSample, batch: Batch, draw: Draw) -> StagedLoss:
        """mean softplus(-D(features of the noised sample)), in the form of DMD2's equation 5 (arXiv 2405.14867).

        The adversary on the teacher's generative features is LADD's (arXiv 2403.12015); its own equations could not be looked up.
        """
        x_BTCHW, t_B = sample.x_BTCHW, self._timestep(sample, batch, draw)
        noisy_BTCHW = self.student.add_noise(x_BTCHW, draw.normal_like("score", x_BTCHW), t_B)
        condition, ask = batch.condition_of(self.teacher), Ask(features=self.adversary.layers)
        features = self.teacher.predict(noisy_BTCHW, t_B, condition, ask, input_gradients=True).features
        return StagedLoss("student", "student_loss", generator_loss(self.adversary.logit(features)))

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

    def _timestep(self, sample: StudentSample, batch: Batch, draw: Draw) -> Tensor:
        """Where clips are noised to, [B]."""
        return score_timestep(self.student, self.options, sample, batch, draw)

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student on every ``generator_update_interval``-th step, the discriminator on the others."""
        return self.options.roles_to_step(step)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used: its own steps, one evaluation each."""
        return self.options.sampling(self._shift)

    def _shift(self, timestep: float) -> float:
        """The run's flow shift of a timestep."""
        return self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
