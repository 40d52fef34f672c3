"""distill_core.data.clips: rate, length and size of what is encoded, and the words for what was changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from data_sets import FACTS
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distill_core.data.clips import ClipRules, clip_rules, crop_middle, load_clip, resample, resize_to_cover
from distill_core.errors import DataError
from distill_core.video import TimedFrame, write_mp4

MakeVideo = Callable[..., Path]


def rules(**options: Any) -> ClipRules:
    """Rules for the tiny model: 4 frames per latent frame, sizes in multiples of 16."""
    return clip_rules(FACTS, **{"num_frames": None, "height": None, "width": None, "fps": None, **options})


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Writes an mp4 whose frame k has the grey level 10 · k."""

    def make(frames: int, height: int = 32, width: int = 32, fps: float = 16) -> Path:
        levels = (10 * torch.arange(frames)).to(torch.uint8).view(-1, 1, 1, 1)
        write_mp4(tmp_path / "a.mp4", levels.expand(frames, height, width, 3), fps)
        return tmp_path / "a.mp4"

    return make


def levels(frames: Tensor) -> list[int]:
    """The number of the original frame that each frame shows."""
    return [round(float(frame.float().mean()) / 10) for frame in frames]


def test_a_clip_that_fits_is_left_as_it_is(make_video: MakeVideo) -> None:
    clip = load_clip(make_video(9), rules())
    assert (levels(clip.frames), clip.fps, clip.changes) == (list(range(9)), 16, ())


def test_a_clip_is_trimmed_to_whole_latent_frames(make_video: MakeVideo) -> None:
    clip = load_clip(make_video(12), rules())
    assert (levels(clip.frames), clip.changes) == (list(range(9)), ("trimmed from 12 to 9 frames",))


def test_a_longer_clip_is_cut_to_the_frames_asked_for(make_video: MakeVideo) -> None:
    clip = load_clip(make_video(12), rules(num_frames=5))
    assert (levels(clip.frames), clip.changes) == (list(range(5)), ("cut to its first 5 frames",))


def test_a_shorter_clip_is_refused(make_video: MakeVideo) -> None:
    with pytest.raises(DataError, match="it has 4 frames at 16 per second, 5 are asked for"):
        load_clip(make_video(4), rules(num_frames=5))


def test_one_frame_is_one_latent_frame(make_video: MakeVideo) -> None:
    assert levels(load_clip(make_video(3), rules()).frames) == [0]


def test_a_slower_rate_drops_frames_and_a_faster_one_repeats_them(make_video: MakeVideo) -> None:
    slower = load_clip(make_video(18, fps=24), rules(fps=12))
    assert levels(slower.frames) == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert (slower.fps, slower.changes) == (12, ("resampled from 24 to 12 frames per second",))
    assert levels(load_clip(make_video(5, fps=12), rules(fps=24, num_frames=9)).frames) == [0, 0, 1, 1, 2, 2, 3, 3, 4]


def timed(times: list[float]) -> list[TimedFrame]:
    return [TimedFrame(time, torch.tensor(number)) for number, time in enumerate(times)]


def test_an_uneven_rate_is_resampled_by_time() -> None:
    frames = timed([5.0, 5.1, 5.5, 5.6])
    assert [int(frame) for frame in resample(frames, source_fps=5, fps=10)] == [0, 1, 1, 1, 1, 2, 3, 3]


@given(
    frames=st.integers(1, 60), source=st.sampled_from([8, 15, 24, 25, 29.97, 30, 60]), fps=st.sampled_from([8, 16, 24])
)
def test_resampling_keeps_the_length_in_seconds_and_the_order(frames: int, source: float, fps: float) -> None:
    times = [round(number / source, 3) for number in range(frames)]  # as Matroska stores them
    shown = [int(frame) for frame in resample(timed(times), source, fps)]
    assert shown == sorted(shown)
    assert abs(len(shown) / fps - frames / source) <= 1 / fps + 2e-3
    for count, number in enumerate(shown):
        assert times[number] <= count / fps + 1.1e-3


def test_without_a_size_the_edges_are_cropped_to_whole_tokens(make_video: MakeVideo) -> None:
    clip = load_clip(make_video(5, height=38, width=50), rules())
    assert clip.frames.shape == (5, 32, 48, 3)
    assert clip.changes == ("cropped from 50x38 to 48x32",)


@pytest.mark.parametrize(
    ("height", "width", "change"),
    [
        (64, 64, ("resized from 64x64 to 32x32",)),
        (16, 16, ("resized from 16x16 to 32x32",)),
        (64, 96, ("resized and cropped from 96x64 to 32x32",)),
        (32, 32, ()),
    ],
)
def test_with_a_size_the_middle_is_resized_to_it(
    make_video: MakeVideo, height: int, width: int, change: tuple[str, ...]
) -> None:
    clip = load_clip(make_video(5, height=height, width=width), rules(height=32, width=32))
    assert clip.frames.shape == (5, 32, 32, 3)
    assert clip.changes == change


def test_a_clip_smaller_than_a_token_is_refused(make_video: MakeVideo) -> None:
    with pytest.raises(DataError, match="its 32x8 pixels are less than the 16x16 of one token"):
        load_clip(make_video(5, height=8), rules())


def test_a_resized_picture_keeps_its_aspect_and_its_middle() -> None:
    picture = torch.zeros(32, 64, 3, dtype=torch.uint8)
    picture[:, 16:48] = 200  # the middle square
    small = resize_to_cover(picture, 16, 16)
    assert small.shape == (16, 16, 3)
    assert small[:, 2:14].min() >= 195
    assert torch.equal(resize_to_cover(picture, 32, 32), picture[:, 16:48])
    assert torch.equal(crop_middle(picture, 32, 32), picture[:, 16:48])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_every_size_can_be_made_of_every_size(rows: int, columns: int, height: int, width: int) -> None:
    picture = torch.full((rows, columns, 3), 77, dtype=torch.uint8)
    assert torch.equal(resize_to_cover(picture, height, width), torch.full((height, width, 3), 77, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 32}, "--height and --width go together"),
        ({"height": 33, "width": 32}, "--height 33 is no multiple of the model's 16 pixels; use 32 or 48"),
        ({"height": 32, "width": 8}, "--width 8 is no multiple of the model's 16 pixels; use 16 or 32"),
        ({"num_frames": 8}, "--num-frames 8 makes no whole number of latent frames; use 5 or 9"),
    ],
)
def test_options_that_make_no_latent_are_refused_with_those_that_do(options: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        rules(**options)


def test_frames_fit_a_model_that_takes_latent_frames_in_pairs() -> None:
    paired = clip_rules(replace(FACTS, patch=(2, 2, 2)), None, None, None, None)
    assert [paired.longest(frames) for frames in (0, 1, 4, 5, 9, 13, 16)] == [0, 0, 0, 5, 5, 13, 13]
    with pytest.raises(DataError, match="use 5 or 13"):
        clip_rules(replace(FACTS, patch=(2, 2, 2)), 9, None, None, None)
    with pytest.raises(DataError, match="use 5 or 13"):
        clip_rules(replace(FACTS, patch=(2, 2, 2)), 1, None, None, None)
