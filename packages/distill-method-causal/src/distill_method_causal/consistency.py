"""Causal consistency distillation: neighbouring points of a teacher's path, after the same clean context, are to mean the same clip.

Consistency distillation (Song et al., arXiv 2303.01469, algorithm 2) with the discrete table and the late target of FastVideo's recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from distill_core import flow
from distill_core.flow import TRAIN_TIMESTEPS
from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_method_causal.config import CausalConsistencyOptions
from distill_method_causal.losses import consistency_loss


class CausalConsistency(Method):
    """The :class:`distill_core.protocols.Method`; the target is a role that follows the student."""

    def __init__(self, roles: Mapping[str, Role], options: CausalConsistencyOptions) -> None:
        self.student, self.teacher, self.target = roles["student"], roles["teacher"], roles["target"]
        self.options = options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """One consistency loss: x_t of the data, x_r one guided Euler step of the teacher further."""
        options, x0_BTCHW = self.options, batch.latents
        even = torch.linspace(TRAIN_TIMESTEPS, 0.0, options.intervals + 1, dtype=torch.float64, device=x0_BTCHW.device)
        table = self.student.shift_timestep(even, batch.latent_shape)
        drawn = range(options.intervals if options.last_interval else options.intervals - 1)
        index_B = draw.choice("interval", drawn).long()
        t_B, r_B = table[index_B], table[index_B + 1]
        ask = Ask(blocks=options.block, clean=x0_BTCHW)
        noisy_BTCHW = self.student.add_noise(x0_BTCHW, draw.normal_like("noise", x0_BTCHW), t_B)
        velocity_BTCHW = flow.guided_velocity(
            self.teacher, noisy_BTCHW, t_B, batch.condition_of(self.teacher), options.guidance_scale, ask
        )
        nearer_BTCHW = flow.euler_step(noisy_BTCHW, velocity_BTCHW, t_B, r_B)
        target_BTCHW = self.target.predict_x0(nearer_BTCHW, r_B, batch.condition_of(self.target), ask)
        guess_BTCHW = self.student.predict_x0(noisy_BTCHW, t_B, batch.condition_of(self.student), ask)
        yield StagedLoss(role="student", name="loss", value=consistency_loss(guess_BTCHW, target_BTCHW))

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)

    def keeps(self, step: int) -> Mapping[str, float]:
        """The target's share of its own weights: all of it until ``ema_start_step``."""
        return self.options.keeps(step)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used: block by block, its own steps, one evaluation each."""
        return self.options.sampling(self._shift)

    def _shift(self, timestep: float) -> float:
        """The run's flow shift of a timestep."""
        return self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
