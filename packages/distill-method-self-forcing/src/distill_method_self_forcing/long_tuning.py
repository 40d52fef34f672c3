"""Streaming long tuning (LongLive, Yang et al., arXiv 2509.22622, section 3.2): one sequence over many steps, a chunk further at each.

What a step makes goes on from what earlier steps made, so a student sees contexts as long as it will meet, at the cost of one chunk. Its
stream is made anew at each step, from the frames that were kept and under the weights of now, block by block as sampling would: so a
resumed run has the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from distill_core.protocols import Batch, Draw, Prompt, Role, RowKey, StagedLoss
from distill_core.protocols.prediction import Stream
from distill_matching.rollout import StudentSample
from distill_method_self_forcing.config import LongTuningOptions
from distill_method_self_forcing.method import CausalMatching
from distill_method_self_forcing.schedule import Chunk, chunk_at
from distill_method_self_forcing.sequences import Sequences
from distill_method_self_forcing.streamed import Streamed


class LongTuning(CausalMatching):
    """The :class:`distill_core.protocols.Method`. A batch gives new sequences their captions, and noise its rows' keys; no more."""

    def __init__(self, roles: Mapping[str, Role], options: LongTuningOptions) -> None:
        super().__init__(roles, options, lambda steps: Streamed(roles["student"], options, steps))
        self.models = [roles[name] for name in ("student", "teacher", "critic")]
        self.streamed = Streamed(roles["student"], options, self.steps)
        module = roles["sequences"].module
        assert isinstance(module, Sequences)
        self.sequences, self.long = module, options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The student's loss, where it is due, then the critic's, both of this step's chunk."""
        frames, due = batch.latent_shape[0], self.roles_to_step(draw.step)
        chunk = chunk_at(draw.step, frames, self.long.overlap, self.long.max_frames)
        if chunk.start == 0:
            self.sequences.begin(batch.rows)
        batch = self._shown(batch)
        with torch.set_grad_enabled("student" in due):
            sample = self._window(self._extended(batch, draw, chunk), batch, draw, chunk)
        if "student" in due:
            yield self.student_loss(sample, batch, draw.within("student"))
            sample = sample.detach()
        if "critic" in due:
            value = self.scores.critic_loss(sample, batch, draw.within("critic"))
            yield StagedLoss("critic", "critic_loss", value, done=("student",))

    def _shown(self, batch: Batch) -> Batch:
        """The batch as the sequences have it: their captions, whatever rows have come."""
        prompts = [Prompt(text) for text in self.sequences.texts()]
        rows = tuple(RowKey(row.id, prompt.text, row.fps) for row, prompt in zip(batch.rows, prompts, strict=True))
        conditions = {role.family: role.encode_condition(prompts) for role in self.models}
        return replace(batch, rows=rows, conditions=conditions, clean_latents=None)

    def _extended(self, batch: Batch, draw: Draw, chunk: Chunk) -> Tensor:
        """The new frames, block after block on all before them, with a graph of each block's last prediction; and they are kept."""
        stream, size = self._stream(batch, chunk.start), self.long.block
        leave = self._leave(draw)
        blocks: list[Tensor] = []
        for number in range(chunk.new // size):
            own = draw.within(f"block {number}")
            last = leave if self.long.same_step_across_blocks else own.shared_index("exit", len(self.steps))
            graph = torch.is_grad_enabled()
            blocks.append(self.streamed.block(batch, own, size, stream, last, graph=graph))
            if (number + 1) * size < chunk.new:
                stream = self.streamed.remembered(blocks[-1], batch, stream)
        made_BTCHW = torch.cat(blocks, dim=1)
        self.sequences.keep(made_BTCHW, chunk.start)
        return made_BTCHW

    def _stream(self, batch: Batch, frames: int) -> Stream | None:
        """What the student remembers of the frames that are there, told block by block."""
        stream: Stream | None = None
        for start in range(0, frames, self.long.block):
            kept = self.sequences.frames(start, start + self.long.block)
            stream = self.streamed.remembered(kept, batch, stream)
        return stream

    def _window(self, made_BTCHW: Tensor, batch: Batch, draw: Draw, chunk: Chunk) -> StudentSample:
        """A clip as long as the data's that ends with the new frames, which alone count."""
        frames = batch.latent_shape[0]
        following = (*self.steps[1:], 0.0)[self._leave(draw)] if self.long.same_step_across_blocks else 0.0
        next_B = torch.full((batch.size,), following, dtype=torch.float64)
        if chunk.start == 0:
            return StudentSample(made_BTCHW, next_B)
        first = max(0, chunk.stop - 2 * frames)
        whole_BTCHW = torch.cat([self.sequences.frames(first, chunk.start), made_BTCHW], dim=1)
        return StudentSample(self.streamed.end(whole_BTCHW, frames), next_B, frames - chunk.new)

    def _leave(self, draw: Draw) -> int:
        """The step at which blocks are left, where it is one for all."""
        return draw.shared_index("exit", len(self.steps))
