"""Causal KD: a causal student regresses onto the ends of a bidirectional teacher's paths, each block from a state of its own.

The initialisation of CausVid (Yin et al., arXiv 2412.07772, section 4.3) and of Self-Forcing (arXiv 2506.08009), after Luhman and Luhman,
arXiv 2101.02388.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_method_causal.blocks import block_count, of_frames
from distill_method_causal.config import CausalKdOptions
from distill_method_causal.losses import regression_loss
from distill_method_causal.paths import teacher_paths, warped_steps


class CausalKd(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: CausalKdOptions) -> None:
        self.student, self.teacher = roles["student"], roles.get("teacher")
        self.options = options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The regression, from a path out of the data, or one that is made for it."""
        options, frames = self.options, batch.latent_shape[0]
        path_BSTCHW = self._paths(batch, draw)
        index_BT = of_frames(self._states_drawn(batch, draw), frames, options.block)
        steps = (*warped_steps(self.student, options, batch), 0.0)
        levels = torch.tensor(steps, dtype=torch.float64, device=index_BT.device)
        row_B1 = torch.arange(batch.size, device=index_BT.device)[:, None]
        frame_1T = torch.arange(frames, device=index_BT.device)[None]
        x_BTCHW = path_BSTCHW[row_B1, index_BT, frame_1T]
        condition, ask = batch.condition_of(self.student), Ask(blocks=options.block)
        x0_BTCHW = self.student.predict_x0(x_BTCHW, levels[index_BT], condition, ask)
        value = regression_loss(x0_BTCHW, path_BSTCHW[:, -1], index_BT < len(options.steps))
        yield StagedLoss(role="student", name="loss", value=value)

    def _paths(self, batch: Batch, draw: Draw) -> Tensor:
        """[B, S + 1, T, C, H, W]; the last state is the clean end."""
        if self.options.trajectories == "stored":
            path_BSTCHW: Tensor = batch.tensors["trajectory"].float()
            return path_BSTCHW
        assert self.teacher is not None
        return teacher_paths(self.teacher, self.options, batch, draw)

    def _states_drawn(self, batch: Batch, draw: Draw) -> Tensor:
        """Which state each block is in, int64 [B, b]; the number past the student's steps is the clean end.

        The last block is always noisy: nobody would see it clean, and a sample of clean blocks alone would train nothing.
        """
        count, noisy = block_count(batch.latent_shape[0], self.options.block), len(self.options.steps)
        index_Bb = draw.choice("state", range(noisy), count=count)
        if self.options.clean_blocks:
            drawn_Bb = draw.choice("state or clean", range(noisy + 1), count=count)
            index_Bb = torch.cat([drawn_Bb[:, :-1], index_Bb[:, -1:]], dim=1)
        return index_Bb.long()

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)

    def validation(self, step: int) -> ValidationRequest:
        """The student as it will be used: block by block, its own steps, one evaluation each."""
        return self.options.sampling(
            lambda timestep: self.student.shift_timestep(torch.tensor([timestep], dtype=torch.float64)).item()
        )
