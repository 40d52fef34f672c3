"""Clips of the data, noised and predicted in one causal pass: CausVid's rollout (Yin et al., arXiv 2412.07772, algorithm 1).

Each block is noised to one of the student's steps, or left clean: context such as a stream will hold, but of real frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from distill_core.protocols import Ask, Batch, Draw, Role
from distill_matching.rollout import StudentSample
from distill_method_self_forcing.config import CausvidOptions


@dataclass(frozen=True)
class Noised:
    """Makes such clips.

    Attributes:
        student: who predicts them.
        options: how.
        steps: the student's timesteps.
    """

    student: Role
    options: CausvidOptions
    steps: Sequence[float]

    def __call__(self, batch: Batch, draw: Draw) -> StudentSample:
        """A clip whose last block is never clean: nobody would see it, and a clip of clean blocks would train nothing."""
        frames, size = batch.latent_shape[0], self.options.block
        count = -(-frames // size)
        context_Bb, last_B1 = (
            draw.choice("step or clean", (*self.steps, 0.0), count=count)[:, :-1],
            draw.choice("last step", self.steps, count=1),
        )
        t_BT = torch.cat([context_Bb, last_B1], dim=1).repeat_interleave(size, dim=1)[:, :frames]
        noise_BTCHW = draw.normal("start", batch.latent_shape)
        noisy_BTCHW = self.student.add_noise(batch.latents, noise_BTCHW, t_BT)
        x_BTCHW = self.student.predict_x0(noisy_BTCHW, t_BT, batch.condition_of(self.student), Ask(blocks=size))
        return StudentSample(x_BTCHW, torch.zeros(batch.size, dtype=torch.float64))
