"""distill_core.data.encoding.clips: rate, length and size of what is encoded, and the words for what was changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from data_sets import FACTS
from hypothesis import given
from hypothesis import strategies as st
from small_clips import levels, load_clip, rules
from tests.data.conftest import MakeVideo

from distill_core.data.encoding.clips import cut_clips
from distill_core.data.encoding.frames import crop_middle, resample, resize_to_cover
from distill_core.data.encoding.rules import Grid, clip_rules
from distill_core.errors import DataError
from distill_core.video.film import Film, TimedFrame
from distill_core.video.reading import open_film


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


def timed(times: list[float], last: float) -> list[TimedFrame]:
    """Frames at these times, each shown until the next, the last so long; their pixels are their numbers."""
    ends = [*times[1:], times[-1] + last]
    return [
        TimedFrame(number, time, end - time, partial(torch.tensor, number))
        for number, (time, end) in enumerate(zip(times, ends, strict=True))
    ]


def shown(times: list[float], last: float, fps: float) -> list[int]:
    """The numbers of the frames that resampling shows."""
    return [int(frame.pixels) for _, frame in resample(timed(times, last), fps)]


def test_an_uneven_rate_is_resampled_by_time() -> None:
    assert shown([0.0, 0.1, 0.5, 0.6], 0.2, fps=10) == [0, 1, 1, 1, 1, 2, 3, 3]


@given(
    frames=st.integers(1, 60), source=st.sampled_from([8, 15, 24, 25, 29.97, 30, 60]), fps=st.sampled_from([8, 16, 24])
)
def test_resampling_keeps_the_length_in_seconds_and_the_order(frames: int, source: float, fps: float) -> None:
    times = [round(number / source, 3) for number in range(frames)]  # as Matroska stores them
    numbers = shown(times, 1 / source, fps)
    assert numbers == sorted(numbers)
    assert abs(len(numbers) / fps - frames / source) <= 1 / fps + 2e-3
    for count, number in enumerate(numbers):
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
    facts = replace(FACTS, patch=(2, 2, 2))
    assert [Grid.of(facts).longest(frames) for frames in (0, 1, 4, 5, 9, 13, 16)] == [0, 0, 0, 5, 5, 13, 13]
    for frames in (1, 9):
        with pytest.raises(DataError, match="use 5 or 13"):
            clip_rules(facts, num_frames=frames)


# Several clips of a video


def test_clips_are_cut_from_a_long_video_one_after_another(make_video: MakeVideo) -> None:
    clips = list(cut_clips(make_video(19), rules(num_frames=5, clips_per_video=9)))
    assert [levels(clip.frames) for clip in clips] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert [clip.start for clip in clips] == [0, 5 / 16, 10 / 16]
    assert [clip.changes for clip in clips] == [
        ("cut out: 5 frames from 0 s on",),
        ("cut out: 5 frames from 0.3125 s on",),
        ("cut out: 5 frames from 0.625 s on", "the last 4 frames after it are too few for a clip"),
    ]


def test_no_more_clips_are_cut_than_asked_for_and_the_last_says_so(make_video: MakeVideo) -> None:
    clips = list(cut_clips(make_video(19), rules(num_frames=5, clips_per_video=2)))
    assert [levels(clip.frames)[0] for clip in clips] == [0, 5]
    assert clips[-1].changes[-1] == "the video goes on after it"


def test_a_video_that_divides_evenly_leaves_nothing_over(make_video: MakeVideo) -> None:
    clips = list(cut_clips(make_video(10), rules(num_frames=5, clips_per_video=9)))
    assert [clip.changes for clip in clips] == [
        ("cut out: 5 frames from 0 s on",),
        ("cut out: 5 frames from 0.3125 s on",),
    ]


def test_a_long_video_is_never_in_memory_as_a_whole(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = 0

    def counted(frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
        nonlocal decoded
        for frame in frames:
            decoded += 1
            yield frame

    @contextmanager
    def opened(path: Path) -> Iterator[Film]:
        with open_film(path) as film:
            yield replace(film, frames=counted(film.frames))

    monkeypatch.setattr("distill_core.data.encoding.clips.open_film", opened)
    cut = cut_clips(make_video(25), rules(num_frames=5, clips_per_video=9))
    for number in range(1, 4):
        assert levels(next(cut).frames)[0] == 5 * (number - 1)
        assert decoded <= 5 * (number + 1) + 1


# Buckets


@pytest.mark.parametrize(
    ("frames", "height", "width", "shape"),
    [
        (9, 32, 32, (9, 32, 32)),
        (12, 64, 64, (9, 32, 32)),
        (7, 32, 32, (5, 32, 32)),
        (9, 36, 64, (5, 32, 64)),
        (9, 64, 32, (9, 32, 32)),
    ],
)
def test_a_clip_gets_the_nearest_proportions_and_then_the_largest_length(
    make_video: MakeVideo, frames: int, height: int, width: int, shape: tuple[int, ...]
) -> None:
    buckets = [(5, 32, 32), (9, 32, 32), (5, 32, 64)]
    assert load_clip(make_video(frames, height, width), rules(buckets=buckets)).frames.shape[:3] == shape


def test_a_long_video_is_cut_into_the_largest_lengths_that_are_left(make_video: MakeVideo) -> None:
    how = rules(buckets=[(5, 32, 32), (9, 32, 32)], clips_per_video=9)
    assert [len(clip.frames) for clip in cut_clips(make_video(24), how)] == [9, 9, 5]


def test_a_clip_that_fills_no_bucket_is_refused(make_video: MakeVideo) -> None:
    with pytest.raises(DataError, match="it has 4 frames at 16 per second, 5 are asked for"):
        load_clip(make_video(4), rules(buckets=[(9, 32, 32), (5, 32, 32)]))


def picture(path: Path, height: int = 32, width: int = 32) -> Path:
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.height, stream.width, stream.pix_fmt = height, width, "rgb24"
        pixels = torch.full((height, width, 3), 70, dtype=torch.uint8).numpy()
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_picture_is_a_clip_of_one_frame_at_any_rate(tmp_path: Path) -> None:
    for options in ({}, {"fps": 60}, {"num_frames": 1}, {"buckets": [(9, 32, 32), (1, 32, 32)]}):
        clip = load_clip(picture(tmp_path / "a.png"), rules(**options))
        assert (levels(clip.frames), clip.changes) == ([7], ())


def test_a_picture_is_refused_where_only_videos_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it is a picture, and clips of one frame are not asked for"):
        load_clip(picture(tmp_path / "a.png"), rules(num_frames=5))


def test_a_model_of_pictures_takes_pictures_and_first_frames_unasked(tmp_path: Path, make_video: MakeVideo) -> None:
    how = clip_rules(replace(FACTS, max_frames=1))
    assert len(load_clip(picture(tmp_path / "a.png"), how).frames) == 1
    video = load_clip(make_video(7), how)
    assert (len(video.frames), video.changes) == (1, ("cut to its first 1 frames",))
    with pytest.raises(DataError, match="--num-frames 5 is more than the model takes; use 1"):
        clip_rules(replace(FACTS, max_frames=1), num_frames=5)


def test_what_a_model_takes_at_most_is_in_no_key_of_data() -> None:
    assert str(clip_rules(FACTS, num_frames=1)) == str(clip_rules(replace(FACTS, max_frames=1)))


def test_the_rest_of_a_video_does_not_become_pictures(make_video: MakeVideo) -> None:
    how = rules(buckets=[(5, 32, 32), (1, 32, 32)], clips_per_video=9)
    assert [len(clip.frames) for clip in cut_clips(make_video(7), how)] == [5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buckets": [(8, 32, 32)]}, "--bucket: frames 8 makes no whole number of latent frames; use 5 or 9"),
        ({"buckets": [(9, 30, 32)]}, "--bucket: height 30 is no multiple of the model's 16 pixels"),
        ({"buckets": [(9, 32, 30)]}, "--bucket: width 30"),
        ({"buckets": [(9, 32, 32)], "num_frames": 5}, "leave out --num-frames, --height and --width"),
        ({"clips_per_video": 2}, "--clips-per-video needs to know how long a clip is"),
    ],
)
def test_buckets_that_make_no_latent_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        rules(**options)
