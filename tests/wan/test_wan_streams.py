"""What a stream of a tiny real transformer keeps of the frames before, and which streams are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.wan.causal_case import FRAMES, SIZE, Case, Draw, float64, of_blocks

from distill_core.errors import StreamError
from distill_core.protocols import Ask
from distill_diffusers.causal.streams import FrameStream, frames_of


def test_a_stream_keeps_the_newest_frames_and_those_of_the_beginning(case: Callable[..., Case]) -> None:
    it = case(trainable=False)
    t_BT = of_blocks(999.0, 950.0, 920.0)
    everything, rolling = it.streamed(t_BT)[1], it.predict(it.noisy, t_BT, blocks=SIZE, store=True, window=2, sink=1)
    assert isinstance(everything, FrameStream)
    short = rolling.stream
    assert isinstance(short, FrameStream)
    assert short.frames == FRAMES
    assert frames_of(short.memories["transformer"]) == 3
    for layer in range(2):
        every, kept = (
            torch.cat([segment.layers[layer][1] for segment in stream.memories["transformer"]], dim=1)
            for stream in (everything, short)
        )
        wanted = every.unflatten(1, (FRAMES, -1))[:, [0, 4, 5]].flatten(1, 2)
        torch.testing.assert_close(kept, wanted, rtol=0, atol=1e-5)


def test_rolling_on_keeps_what_rolling_at_once_keeps(case: Callable[..., Case]) -> None:
    """Frames leave one by one as blocks come; those of the beginning stay."""
    it = case(trainable=False)
    t_BT = of_blocks(999.0, 950.0, 920.0)
    stream = None
    for start in range(0, FRAMES, SIZE):
        own = slice(start, start + SIZE)
        stream = it.predict(it.noisy[:, own], t_BT[:, own], stream=stream, store=True, window=3, sink=1).stream
    assert isinstance(stream, FrameStream)
    memory = stream.memories["transformer"]
    assert [segment.frames for segment in memory] == [1, 1, 2]
    _, whole = it.streamed(t_BT)
    assert isinstance(whole, FrameStream)
    # The first layer's keys depend on no other frame: those kept are frames 0, 3, 4 and 5 at their own positions.
    keys = torch.cat([segment.layers[0][0] for segment in whole.memories["transformer"]], dim=1)
    wanted = keys.unflatten(1, (FRAMES, -1))[:, [0, 3, 4, 5]].flatten(1, 2)
    torch.testing.assert_close(torch.cat([each.layers[0][0] for each in memory], dim=1), wanted, rtol=0, atol=1e-5)
    assert it.predict(it.noisy[:, :SIZE], t_BT[:, :SIZE], stream=stream).velocity.isfinite().all()


def test_a_stream_never_changes(case: Callable[..., Case]) -> None:
    it = case(trainable=False)
    t_BT = of_blocks(999.0, 950.0, 920.0)
    block, later = it.noisy[:, :SIZE], it.noisy[:, SIZE : 2 * SIZE]
    stream = it.predict(block, t_BT[:, :SIZE], store=True).stream
    first = it.predict(later, t_BT[:, SIZE : 2 * SIZE], stream=stream, store=True, window=1)
    again = it.predict(later, t_BT[:, SIZE : 2 * SIZE], stream=stream)
    assert first.velocity.equal(again.velocity)
    assert stream is not None
    assert stream.frames == SIZE


def test_rows_of_a_stream_go_on_alone(case: Callable[..., Case]) -> None:
    it = case(trainable=False)
    t_BT = of_blocks(999.0, 950.0, 920.0)
    stream = it.predict(it.noisy[:, :SIZE], t_BT[:, :SIZE], store=True).stream
    assert isinstance(stream, FrameStream)
    both = it.predict(it.noisy[:, SIZE:4], t_BT[:, SIZE:4], stream=stream).velocity
    rows = torch.tensor([1])
    alone = it.role.predict(
        it.noisy[rows, SIZE:4], t_BT[rows, SIZE:4], it.text.select(rows), Ask(stream=stream.select(rows))
    )
    torch.testing.assert_close(alone.velocity, both[rows], rtol=0, atol=1e-5)


def test_streams_that_do_not_belong_are_refused(case: Callable[..., Case], noise: Draw) -> None:
    it, other = case(trainable=False), case(trainable=False)
    t_B = float64([900.0, 300.0])
    stream = it.predict(it.noisy, t_B, store=True).stream
    assert isinstance(stream, FrameStream)
    with pytest.raises(StreamError, match="of another role; each role goes on from its own"):
        other.predict(it.noisy, t_B, stream=stream)
    with pytest.raises(StreamError, match="the stream is of 1 samples, the prediction of 2; select its rows"):
        it.predict(it.noisy, t_B, stream=stream.select(torch.tensor([0])))
    with pytest.raises(StreamError, match="of frames of 2 × 2 tokens, the prediction of 2 × 3; begin another"):
        it.predict(noise(2, FRAMES, 16, 4, 6), t_B, stream=stream)
    with pytest.raises(StreamError, match="that one of its family stored, not from Past"):
        it.predict(it.noisy, t_B, stream=Past())


class Past:
    """Another family's stream."""

    frames = 6

    def __len__(self) -> int:
        return 2


def test_a_stream_beyond_the_models_positions_is_refused(case: Callable[..., Case]) -> None:
    it = case(trainable=False)
    stream = None
    for _ in range(5):
        stream = it.predict(it.noisy, float64([900.0, 300.0]), stream=stream, store=True, window=2).stream
    with pytest.raises(StreamError, match="come to frame 36, and the model has positions for 32; begin another"):
        it.predict(it.noisy, float64([900.0, 300.0]), stream=stream)
