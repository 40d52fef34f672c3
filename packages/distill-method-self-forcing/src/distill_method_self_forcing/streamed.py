"""Clips that the student streams itself: Self-Forcing's rollout (Huang et al., arXiv 2506.08009, algorithm 1).

Each block goes from noise down the student's steps to a drawn one, whose prediction is the block; then a pass without a graph remembers
it, clean. Only that one prediction of a block has a graph, and none goes from one block to the next: what is remembered is a constant.
B batch, T latent frames, C channels, H W latent rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Batch, Draw, Role
from distill_core.protocols.prediction import Stream
from distill_matching.rollout import StudentSample
from distill_method_self_forcing.config import StreamedOptions


@dataclass(frozen=True)
class Streamed:
    """Makes clips. The drawn step is one for all ranks, which so run the same forwards; every block's draws are its own.

    Attributes:
        student: who makes them.
        options: how.
        steps: the student's timesteps.
    """

    student: Role
    options: StreamedOptions
    steps: Sequence[float]

    def __call__(self, batch: Batch, draw: Draw) -> StudentSample:
        """A clip as long as the data's: all that was made, or the end of it where that is longer."""
        frames, size = batch.latent_shape[0], self.options.block
        extra = size * draw.shared_index("extra blocks", self.options.extra_blocks + 1)
        leave, count = draw.shared_index("exit", len(self.steps)), frames + extra
        stream: Stream | None = None
        blocks: list[Tensor] = []
        for number, start in enumerate(range(0, count, size)):
            own = draw.within(f"block {number}")
            last = leave if self.options.same_step_across_blocks else own.shared_index("exit", len(self.steps))
            judged = torch.is_grad_enabled() and (extra == 0 or start >= extra + size)
            blocks.append(self.block(batch, own, min(size, count - start), stream, last, graph=judged))
            if start + size < count:
                stream = self.remembered(blocks[-1], batch, stream)
        x_BTCHW = torch.cat(blocks, dim=1)
        following = (*self.steps[1:], 0.0)[leave] if self.options.same_step_across_blocks else 0.0
        next_B = torch.full((batch.size,), following, dtype=torch.float64)
        return StudentSample(x_BTCHW, next_B) if extra == 0 else StudentSample(self.end(x_BTCHW, frames), next_B, size)

    def block(self, batch: Batch, draw: Draw, frames: int, stream: Stream | None, last: int, *, graph: bool) -> Tensor:
        """One block: the student's prediction at its step ``last``, after those before it, on what was made before."""
        condition, shape = batch.condition_of(self.student), (frames, *batch.latent_shape[1:])
        x_BTCHW, ask = draw.normal("start", shape), Ask(stream=stream)
        with torch.no_grad():
            for index in range(last):
                here_B, there_B = (self._constant(step, x_BTCHW) for step in self.steps[index : index + 2])
                x0_BTCHW = self.student.predict_x0(x_BTCHW, here_B, condition, ask)
                if self.options.rollout_move == "sde":
                    noise_BTCHW = draw.normal(f"renoise/{index}", shape)
                    x_BTCHW = self.student.add_noise(x0_BTCHW, noise_BTCHW, there_B)
                else:
                    x_BTCHW = flow.move(x_BTCHW, x0_BTCHW, here_B, there_B)
        with torch.set_grad_enabled(graph):
            return self.student.predict_x0(x_BTCHW, self._constant(self.steps[last], x_BTCHW), condition, ask)

    @torch.no_grad()
    def remembered(self, x0_BTCHW: Tensor, batch: Batch, stream: Stream | None) -> Stream | None:
        """The stream that has this block too, as clean frames at timestep 0."""
        ask = Ask(stream=stream, store=True, window=self.options.window, sink=self.options.sink)
        t_B = self._constant(0.0, x0_BTCHW)
        return self.student.predict(x0_BTCHW.detach(), t_B, batch.condition_of(self.student), ask).stream

    @torch.no_grad()
    def _first_again(self, before_BTCHW: Tensor) -> Tensor:
        """The last pixel frame of what was made, encoded as the first latent frame of a clip, [B, 1, C, H, W].

        A video's first latent frame is of one pixel frame, every other of several: teacher and critic know no clip that begins otherwise.
        """
        return self.student.encode_pixels(self.student.decode_pixels(before_BTCHW)[:, -1:])

    def end(self, x_BTCHW: Tensor, frames: int) -> Tensor:
        """The last ``frames`` of a longer clip, as a clip of its own. What is decoded for it are ``frames`` before it, at most."""
        inner = frames - 1
        before_BTCHW = x_BTCHW[:, :-inner][:, -frames:]
        return torch.cat([self._first_again(before_BTCHW).to(x_BTCHW), x_BTCHW[:, -inner:]], dim=1)

    def _constant(self, timestep: float, like: Tensor) -> Tensor:
        return torch.full((len(like),), timestep, dtype=torch.float64, device=like.device)
