"""Phased DMD (arXiv 2510.27684): the flow in two ranges of noise, each matched by itself, with samples anchored where they meet.

In the high phase the student goes from noise to the boundary, and what it leaves there (x_s, still noisy) is matched above the boundary; in
the low phase it goes on to clean samples, which are matched below. Of a model with two experts each phase trains one, since predictions
above the boundary are the one's and below the other's; one network simply has two tasks. Each phase has its own steps of training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distill_core import flow
from distill_core.errors import ConfigError, Problem
from distill_core.flow import TRAIN_TIMESTEPS
from distill_core.plugins.timesteps import shifted
from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_matching.guidance import Guidance
from distill_matching.losses import critic_x0_loss, dmd_gradient, dmd_loss
from distill_matching.rollout import simulate
from distill_method_phased_dmd.anchored import Anchored, noised_from
from distill_method_phased_dmd.config import PHASES, Phase, PhasedDmdOptions


@dataclass(frozen=True)
class Anchor:
    """Where a phase's rollout ends.

    Attributes:
        x_BTCHW: x_s, with the graph of the last forward unless gradients are off.
        timestep: where it is: the boundary, or 0.
    """

    x_BTCHW: Tensor
    timestep: float


class PhasedDmd(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: PhasedDmdOptions) -> None:
        self.student, self.teacher, self.critic = roles["student"], roles["teacher"], roles["critic"]
        self.options = options
        self.guidance = Guidance(self.teacher, options)
        self.steps = options.warped(self._shift)
        try:
            self.indices = {phase: options.indices(self.steps, phase) for phase in PHASES}
            self.windows = {phase: options.window(phase, self._unshifted(options.boundary)) for phase in PHASES}
        except ValueError as error:
            raise ConfigError([Problem("method_config.boundary", str(error))]) from error

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The losses of this step's phase: the student's where it is due, then the critic's."""
        phase, anchor = self.options.phase(draw.step), None
        due = self.roles_to_step(draw.step)
        if "student" in due:
            anchor = self._rollout(phase, batch, draw.within("student"))
            yield self._student_loss(anchor, phase, batch, draw.within("student"))
            anchor = Anchor(anchor.x_BTCHW.detach(), anchor.timestep)
        if "critic" not in due:
            return
        if anchor is None or not self.options.critic_reuses_student_sample:
            with torch.no_grad():
                anchor = self._rollout(phase, batch, draw.within("critic"))
        yield replace(self._critic_loss(anchor, phase, batch, draw.within("critic")), done=("student",))

    def _rollout(self, phase: Phase, batch: Batch, draw: Draw) -> Anchor:
        """Euler steps from noise to one of the phase's own, which is drawn, and from there to the phase's end in one."""
        indices = self.indices[phase]
        index = indices[draw.shared_index("exit", len(indices))]
        kind = self.options.attn_kind
        noisy_BTCHW = simulate(self.student, batch, draw, self.steps[: index + 1], move="ode", attn_kind=kind)
        end = self.options.boundary if phase == "high" else 0.0
        step_B, end_B = (torch.full((batch.size,), each, dtype=torch.float64) for each in (self.steps[index], end))
        velocity_BTCHW = self.student.predict_velocity(noisy_BTCHW, step_B, batch.condition_of(self.student), Ask(kind))
        return Anchor(flow.euler_step(noisy_BTCHW, velocity_BTCHW, step_B, end_B), end)

    def _student_loss(self, anchor: Anchor, phase: Phase, batch: Batch, draw: Draw) -> StagedLoss:
        """½ mean (x_s - sg(x_s - g))², g the difference of the critic's and the teacher's x̂0 of the anchor, noised within the phase."""
        with torch.no_grad():
            noised, t_B = self._noised(anchor, phase, batch, draw)
            noisy_BTCHW = noised.noisy_BTCHW
            sigma = flow.sigma_of(t_B, noisy_BTCHW)
            velocity_BTCHW = self.critic.predict_velocity(noisy_BTCHW, t_B, batch.condition_of(self.critic))
            fake_BTCHW = flow.denoised(noisy_BTCHW, velocity_BTCHW, sigma)
            condition = batch.condition_of(self.teacher)
            teachers, away_BTCHW = self.guidance.predict(noisy_BTCHW, t_B, condition)
            cond_BTCHW = flow.denoised(noisy_BTCHW, teachers.velocity, sigma)
            real_BTCHW = self.guidance.guided(
                cond_BTCHW, noisy_BTCHW, t_B, condition, sigma=sigma, away_BTCHW=away_BTCHW
            )
            gradient_BTCHW = dmd_gradient(
                anchor.x_BTCHW,
                fake_BTCHW,
                real_BTCHW,
                self.options.normalizer,
                self.options.normalizer_floor,
                self.options.normalizer_floor_as,
            )
        metrics = {f"dmd_gradient_norm_{phase}": gradient_BTCHW.flatten(1).norm(dim=1).mean()}
        return StagedLoss("student", f"student_loss_{phase}", dmd_loss(anchor.x_BTCHW, gradient_BTCHW), metrics)

    def _critic_loss(self, anchor: Anchor, phase: Phase, batch: Batch, draw: Draw) -> StagedLoss:
        """mean (v - d x_t / d σ_t)²: flow matching from the anchor."""
        noised, t_B = self._noised(anchor, phase, batch, draw)
        velocity_BTCHW = self.critic.predict_velocity(noised.noisy_BTCHW, t_B, batch.condition_of(self.critic))
        return StagedLoss("critic", f"critic_loss_{phase}", critic_x0_loss(velocity_BTCHW, noised.velocity_BTCHW))

    def _noised(self, anchor: Anchor, phase: Phase, batch: Batch, draw: Draw) -> tuple[Anchored, Tensor]:
        """The anchor, noised to a drawn timestep of the phase."""
        t_B = self._score_timestep(phase, draw)
        noise_BTCHW = draw.normal_like("score", anchor.x_BTCHW)
        return noised_from(anchor.x_BTCHW, anchor.timestep, noise_BTCHW, t_B), t_B

    def _score_timestep(self, phase: Phase, draw: Draw) -> Tensor:
        """float64 [B]: uniform within the phase's window before the flow shift, then shifted."""
        u_B = draw.hosted.uniform("score_timestep", *self.windows[phase])
        return self.student.shift_timestep(u_B)

    def _unshifted(self, timestep: float) -> float:
        """The timestep that the run's flow shift s moves to ``timestep``: a shift by 1 / s moves it back."""
        half = self._shift(TRAIN_TIMESTEPS / 2.0) / TRAIN_TIMESTEPS
        return shifted(timestep, (1.0 - half) / half)

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The critic on every step, the student too on every ``generator_update_interval``-th, or there in its stead."""
        return self.options.roles_to_step(step)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used: its own steps along the flow, one evaluation each."""
        return self.options.sampling(self._shift)

    def _shift(self, timestep: float) -> float:
        """The run's flow shift of a timestep."""
        return self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
