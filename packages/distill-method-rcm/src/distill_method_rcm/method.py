"""rCM: consistency in continuous time, which keeps variety, and distribution matching, which makes it sharp (arXiv 2510.08431).

Consistency alone at first. Then student and critic take turns: the student by consistency on clips and by the scores of its own samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_matching.losses import dmd_loss
from distill_matching.rollout import StudentSample, simulate
from distill_matching.scores import Scores
from distill_method_rcm.config import RcmOptions
from distill_method_rcm.tangent import consistency_loss, normalised, tangent


class Rcm(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: RcmOptions) -> None:
        self.student, self.teacher = roles["student"], roles["teacher"]
        self.options = options
        self.scores = Scores(roles, options)
        self.steps = options.warped(self._shift)

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The student's two losses, one after the other, or the critic's."""
        due = self.roles_to_step(draw.step)
        if "student" in due:
            yield self._consistency(batch, draw.within("consistency"))
            if self.options.matches(draw.step):
                yield self._matching(batch, draw.within("student"))
        if "critic" in due:
            own = draw.within("critic")
            with torch.no_grad():
                sample = self.sample(batch, own, "critic")
            yield StagedLoss("critic", "critic_loss", self.scores.critic_loss(sample, batch, own), done=("student",))

    def _consistency(self, batch: Batch, draw: Draw) -> StagedLoss:
        """The student follows its own tangent along the teacher's flow."""
        options = self.options
        angle_B = torch.atan((options.angle_mean + options.angle_std * draw.normal("angle", ()).double()).exp())
        state = flow.TrigState.of(batch.latents, draw.normal_like("noise", batch.latents), angle_B)
        velocity_BTCHW = flow.guided_velocity(
            self.teacher, state.noisy, state.timestep, batch.condition_of(self.teacher), options.scale
        )
        teacher_BTCHW = state.function_of(velocity_BTCHW)
        rate_B, along_BTCHW = angle_B.cos() * angle_B.sin(), state.cos * state.sin * teacher_BTCHW
        prediction = flow.predict_along(
            self.student,
            state.noisy,
            state.timestep,
            batch.condition_of(self.student),
            Ask(options.attn_kind, along=state.tangents(along_BTCHW, rate_B)),
            options.difference_step if options.derivative == "differences" else None,
        )
        assert prediction.derivative is not None
        held_BTCHW = prediction.velocity.detach()
        derivative_BTCHW = state.derivative_of(held_BTCHW, prediction.derivative, along_BTCHW, rate_B)
        warmup = options.warmup(draw.step)
        raw_BTCHW = tangent(state, state.function_of(held_BTCHW), teacher_BTCHW, derivative_BTCHW, warmup)
        loss = consistency_loss(state.function_of(prediction.velocity), normalised(raw_BTCHW, options.tangent_constant))
        value = options.weight_of(batch.latent_shape) * loss.float()
        size_B = raw_BTCHW.square().flatten(1).mean(1).sqrt()
        return StagedLoss("student", "consistency_loss", value, {"tangent": size_B.mean().float()})

    def _matching(self, batch: Batch, draw: Draw) -> StagedLoss:
        """The student's sample moves along the difference of the two scores (DMD2, arXiv 2405.14867)."""
        sample = self.sample(batch, draw, "student")
        scored = self.scores.of(sample, batch, draw)
        gradient_BTCHW = self.scores.gradient(scored)
        value = self.options.matching_weight * dmd_loss(sample.x_BTCHW, gradient_BTCHW)
        return StagedLoss("student", "matching_loss", value, {"gradient": gradient_BTCHW.flatten(1).norm(dim=1).mean()})

    def sample(self, batch: Batch, draw: Draw, role: str) -> StudentSample:
        """The student's own sample after 1, 2, … of its steps, in turn; of the last one alone there is a graph."""
        count = self.options.rollout_length(draw.step, role)
        noisy_BTCHW: Tensor = simulate(
            self.student, batch, draw, self.steps[:count], move="sde", attn_kind=self.options.attn_kind
        )
        step_B = flow.timestep_of(self.steps[count - 1], noisy_BTCHW)
        next_B = flow.timestep_of((*self.steps, 0.0)[count], noisy_BTCHW)
        condition = batch.condition_of(self.student)
        return StudentSample(
            self.student.predict_x0(noisy_BTCHW, step_B, condition, Ask(self.options.attn_kind)), next_B
        )

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student alone at first; then student and critic by turns."""
        return self.options.roles_to_step(step)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used."""
        return self.options.sampling(self._shift)

    def _shift(self, timestep: float) -> float:
        """The run's flow shift of a timestep."""
        return self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
