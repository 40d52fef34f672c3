"""A student by turns with a critic, and a discriminator where there is one: the step of every method that matches two scores.

What a method has left to say is the student's loss, and whatever else it wants of the student's steps.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import torch

from distill_core.protocols import Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_matching.adversary import Adversary
from distill_matching.options import ScoringOptions
from distill_matching.rollout import StudentSample, student_sample
from distill_matching.scores import Scores


class Alternating(Method):
    """Student, teacher and critic by the shared options; a discriminator joins where ``adversary`` is set.

    Attributes:
        steps: the student's timesteps, warped if the options say so.
        scores: what teacher and critic make of samples.
        adversary: the discriminator at work, or None.
        first_exit: the first of the steps that samples are taken at.
        up_to_step: whether samples are scored up to their own timestep.
    """

    def __init__(self, roles: Mapping[str, Role], options: ScoringOptions) -> None:
        self.student = roles["student"]
        self.matching = options
        self.steps = options.warped(self._shift)
        self.scores = Scores(roles, options)
        self.adversary: Adversary | None = None
        self.first_exit, self.up_to_step = 0, False

    @abstractmethod
    def student_loss(self, sample: StudentSample, batch: Batch, draw: Draw) -> StagedLoss:
        """The loss of the student on its sample, which has a graph."""

    def further_losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """What else trains the student on its steps, once that graph is gone."""
        yield from ()

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The losses of the roles that are due, the student's first."""
        sample: StudentSample | None = None
        due = self.roles_to_step(draw.step)
        if "student" in due:
            sample = self.sample(batch, draw.within("student"))
            yield self.student_loss(sample, batch, draw.within("student"))
            sample = sample.detach()
            yield from self.further_losses(batch, draw)
        if "critic" not in due:
            return
        if sample is None or not self.matching.critic_reuses_student_sample:
            with torch.no_grad():
                sample = self.sample(batch, draw.within("critic"))
        value = self.scores.critic_loss(sample, batch, draw.within("critic"))
        yield StagedLoss("critic", "critic_loss", value, done=("student",))
        if self.adversary is not None:
            yield self.adversary.loss(sample, batch, draw.within("discriminator"), done=("student", "critic"))

    def sample(self, batch: Batch, draw: Draw) -> StudentSample:
        """What the student predicts at one of its steps."""
        return student_sample(
            self.student,
            batch,
            draw,
            self.steps,
            from_data=self.matching.rollout == "data_latent",
            move=self.matching.rollout_move,
            attn_kind=self.matching.attn_kind,
            first_exit=self.first_exit,
            up_to_step=self.up_to_step,
        )

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used: its own steps, one evaluation each."""
        return self.matching.sampling(self._shift)

    def _shift(self, timestep: float) -> float:
        """The run's flow shift of a timestep."""
        return self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
