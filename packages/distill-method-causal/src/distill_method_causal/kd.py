"""Causal KD: a causal student regresses onto the ends of a bidirectional teacher's paths, each block from a state of its own.

The initialisation of CausVid (Yin et al., arXiv 2412.07772, section 4.3) and of Self-Forcing (arXiv 2506.08009), after Luhman and Luhman,
arXiv 2101.02388.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core.flow import TRAIN_TIMESTEPS
from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_method_causal.blocks import block_count, of_frames
from distill_method_causal.config import CausalKdOptions
from distill_method_causal.losses import regression_loss
from distill_method_causal.trajectory import path_grid, path_states


class CausalKd(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: CausalKdOptions) -> None:
        self.student, self.teacher = roles["student"], roles["teacher"]
        self.options = options
        self.steps = options.warped(self._shift)

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The regression, from a path that is made for it."""
        options, frames = self.options, batch.latent_shape[0]
        states_SBTCHW, end_BTCHW = self._path(batch, draw)
        index_BT = of_frames(self._states_drawn(batch, draw), frames, options.block)
        levels = torch.tensor((*self.steps, 0.0), dtype=torch.float64, device=end_BTCHW.device)
        every_SBTCHW = torch.cat([states_SBTCHW, end_BTCHW[None]])
        row_B1 = torch.arange(batch.size, device=end_BTCHW.device)[:, None]
        frame_1T = torch.arange(frames, device=end_BTCHW.device)[None]
        x_BTCHW = every_SBTCHW[index_BT, row_B1, frame_1T]
        x0_BTCHW = self.student.predict_x0(
            x_BTCHW, levels[index_BT], batch.condition_of(self.student), Ask(blocks=options.block)
        )
        value = regression_loss(x0_BTCHW, end_BTCHW, index_BT < len(self.steps))
        yield StagedLoss(role="student", name="loss", value=value)

    def _path(self, batch: Batch, draw: Draw) -> tuple[Tensor, Tensor]:
        """The teacher's states at the student's timesteps, and the end."""
        noise_BTCHW = draw.normal("start", batch.latent_shape)
        even = torch.linspace(TRAIN_TIMESTEPS, 0.0, self.options.teacher_steps + 1, dtype=torch.float64)
        grid = path_grid(self.student.shift_timestep(even, batch.latent_shape).tolist(), self.steps)
        return path_states(
            self.teacher,
            noise_BTCHW,
            batch.condition_of(self.teacher),
            grid,
            self.steps,
            self.options.guidance_scale,
        )

    def _states_drawn(self, batch: Batch, draw: Draw) -> Tensor:
        """Which state each block is in, int64 [B, b]; the number past the last is the clean end.

        The last block is always noisy: nobody would see it clean, and a sample of clean blocks alone would train nothing.
        """
        count = block_count(batch.latent_shape[0], self.options.block)
        noisy = range(len(self.steps))
        index_Bb = draw.choice("state", noisy, count=count)
        if self.options.clean_blocks:
            drawn_Bb = draw.choice("state or clean", range(len(self.steps) + 1), count=count)
            index_Bb = torch.cat([drawn_Bb[:, :-1], index_Bb[:, -1:]], dim=1)
        return index_Bb.long()

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used: block by block, its own steps, one evaluation each."""
        return self.options.sampling(self._shift)

    def _shift(self, timestep: float) -> float:
        """The run's flow shift of a timestep."""
        return self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
