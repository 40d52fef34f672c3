"""What a causal prediction remembers of the frames before: keys and values of every layer, detached, never changed once they are made.

Keys are kept after their rotation, at the positions of the frames that they came from. B batch, N tokens, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill_core.errors import StreamError
from distill_core.protocols.prediction import Stream

KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one layer, [B, N, H, D] each."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Neighbouring frames that are remembered together.

    Attributes:
        frames: their number.
        layers: keys and values of each layer, first layer first.
    """

    frames: int
    layers: tuple[KeyValue, ...]

    def cut(self, start: int, stop: int) -> Segment:
        """Its frames from ``start`` up to ``stop``, without a copy."""
        per_frame = self.layers[0][0].shape[1] // self.frames
        own = slice(start * per_frame, stop * per_frame)
        return Segment(stop - start, tuple((k[:, own], v[:, own]) for k, v in self.layers))

    def select(self, rows: Tensor) -> Segment:
        """The samples at ``rows``."""
        return Segment(self.frames, tuple((k[rows], v[rows]) for k, v in self.layers))


Memory = tuple[Segment, ...]
"""What one transformer remembers, oldest frames first."""


def frames_of(memory: Memory) -> int:
    """Latent frames that it holds."""
    return sum(segment.frames for segment in memory)


def layer_of(memory: Memory, layer: int, k_BNHD: Tensor, v_BNHD: Tensor) -> KeyValue:
    """Keys and values of a layer's past and of its present, in this order."""
    past = [segment.layers[layer] for segment in memory]
    return torch.cat([*(k for k, _ in past), k_BNHD], dim=1), torch.cat([*(v for _, v in past), v_BNHD], dim=1)


def limited(memory: Memory, window: int | None, sink: int) -> Memory:
    """The newest ``window`` frames, and the ``sink`` frames of the very beginning; all of them under a window of None."""
    total = frames_of(memory)
    if window is None or total <= window + sink:
        return memory
    kept: list[Segment] = []
    first = 0
    for segment in memory:
        stop = first + segment.frames
        for start, end in ((first, min(stop, sink)), (max(first, total - window), stop)):
            if start < end:
                kept.append(segment.cut(start - first, end - first))
        first = stop
    return tuple(kept)


@dataclass(frozen=True, eq=False)
class FrameStream:
    """The :class:`distill_core.protocols.prediction.Stream` of keys and values.

    Attributes:
        owner: the transformer that made it, of two experts the first.
        batch: the number of samples B.
        frames: latent frames that have gone by.
        grid: rows and columns of tokens of a frame.
        memories: what is remembered, by the name of the transformer: each of two experts has keys and values of its own.
    """

    owner: nn.Module
    batch: int
    frames: int
    grid: tuple[int, int]
    memories: Mapping[str, Memory]

    def __len__(self) -> int:
        return self.batch

    def select(self, rows: Tensor) -> FrameStream:
        """The samples at ``rows``."""
        memories = {name: tuple(segment.select(rows) for segment in own) for name, own in self.memories.items()}
        return FrameStream(self.owner, len(rows), self.frames, self.grid, memories)


def own_stream(stream: Stream | None, owner: nn.Module, batch: int, grid: tuple[int, int]) -> FrameStream | None:
    """The stream, as one that fits the prediction. Raises StreamError for any other."""
    if stream is None:
        return None
    if not isinstance(stream, FrameStream):
        raise StreamError(
            f"a prediction goes on from a stream that one of its family stored, not from {type(stream).__name__}"
        )
    if stream.owner is not owner:
        raise StreamError("the stream was stored by the predictions of another role; each role goes on from its own")
    if len(stream) != batch:
        raise StreamError(f"the stream is of {len(stream)} samples, the prediction of {batch}; select its rows")
    if stream.grid != grid:
        rows, columns = stream.grid
        raise StreamError(
            f"the stream is of frames of {rows} × {columns} tokens, the prediction of {grid[0]} × {grid[1]}; begin another"
        )
    return stream


@dataclass(frozen=True, eq=False)
class Past:
    """What one transformer goes on from.

    Attributes:
        frames: latent frames that have gone by.
        memory: what it remembers of them.
    """

    frames: int = 0
    memory: Memory = ()


def past_of(stream: FrameStream | None, name: str) -> Past:
    """What the transformer of that name goes on from."""
    return Past() if stream is None else Past(stream.frames, stream.memories[name])


def gone_on(
    before: FrameStream | None,
    owner: nn.Module,
    batch: int,
    grid: tuple[int, int, int],
    segments: Mapping[str, Segment],
    window: int | None,
    sink: int,
) -> FrameStream:
    """The stream that has the frames of ``grid`` too, as far as window and sink leave them."""
    memories = {
        name: limited((*past_of(before, name).memory, segment), window, sink) for name, segment in segments.items()
    }
    return FrameStream(owner, batch, grid[0] + (0 if before is None else before.frames), grid[1:], memories)


class Recorder:
    """Takes down keys and values of each layer during one pass, and not when gradient checkpointing runs a layer again in backward."""

    def __init__(self) -> None:
        self._open = True
        self._layers: dict[int, KeyValue] = {}

    def take(self, layer: int, k_BNHD: Tensor, v_BNHD: Tensor) -> None:
        """Remember a layer's keys and values, without their graph."""
        if self._open:
            self._layers[layer] = (k_BNHD.detach(), v_BNHD.detach())

    def segment(self, frames: int) -> Segment:
        """All of it; what comes later is not taken down."""
        self._open = False
        layers, self._layers = self._layers, {}
        return Segment(frames, tuple(layers[layer] for layer in sorted(layers)))
