"""distill_core.data.encoding.clips: what recorders, phones and networks make of clips, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_clips import levels, load_clip, rules
from tests.data.conftest import MakeVideo
from tests.video.small_videos import deep_grey, grey, greys, joined, write_frames, write_video

from distill_core.data.encoding.clips import cut_clips
from distill_core.errors import DataError


def grey_film(path: Path, times: list[float], height: int = 32, width: int = 32) -> Path:
    """A video whose frame k, of the level 10 · k, is shown at ``times[k]``."""
    return write_video(path, greys(len(times), height, width), times=times)


SCREEN = [number / 16 for number in range(17)] + [1 + 1.938 * (number + 1) / 7 for number in range(7)]
"""24 frames in 3 s, 8 a second on average: 16 a second at first, then fewer."""


def test_an_uneven_rate_is_resampled_though_its_average_is_what_is_asked_for(tmp_path: Path) -> None:
    clip = load_clip(grey_film(tmp_path / "screen.mp4", SCREEN), rules(fps=8))
    assert levels(clip.frames) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 16, 16, 17, 17, 18, 18, 19, 19, 20, 20, 20, 21]
    assert clip.changes[0].startswith("resampled ")


def test_a_stated_rate_that_frames_do_not_keep_is_not_believed(tmp_path: Path) -> None:
    times = [number / 16 for number in range(24) if number < 8 or number % 4 == 0]
    clip = load_clip(grey_film(tmp_path / "dropped.mkv", times), rules(fps=16, num_frames=17))
    assert levels(clip.frames) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 9, 9, 9, 9, 10]
    assert clip.changes[0] == "resampled by time stamps to 16 frames per second"


def test_without_fps_a_variable_rate_is_said_and_the_mean_recorded(tmp_path: Path) -> None:
    clip = load_clip(grey_film(tmp_path / "screen.mkv", [0, 0.1, 0.2, 0.6, 0.8]), rules())
    assert levels(clip.frames) == [0, 1, 2, 3, 4]
    assert (clip.fps, clip.start) == (5.0, 0.0)
    assert clip.changes == ("its frame rate varies; --fps F makes it even (frames are 0.1 to 0.4 s apart)",)


def test_a_header_that_states_another_rate_than_the_frames_have_is_said(tmp_path: Path) -> None:
    clip = load_clip(grey_film(tmp_path / "a.mkv", [number / 8 for number in range(9)]), rules())
    assert (clip.fps, clip.changes) == (8.0, ("its frames come at 8 per second (its header says 16)",))


def test_a_second_clip_of_an_uneven_video_begins_where_it_is_shown(tmp_path: Path) -> None:
    times = [0, 0.1, 0.2, 0.3, 0.4, 0.9, 1.0, 1.1, 1.2, 1.3]
    clips = list(cut_clips(grey_film(tmp_path / "a.mkv", times), rules(num_frames=5, clips_per_video=2)))
    assert [clip.start for clip in clips] == [0, pytest.approx(0.9)]


def test_a_long_gap_is_refused_where_it_would_be_filled_with_stills(tmp_path: Path) -> None:
    path = grey_film(tmp_path / "a.mkv", [0, 0.1, 0.2, 0.3, 30, 30.1])
    with pytest.raises(DataError, match=r"its frame 3 is shown for 29\.7 s, and 10 s is the longest"):
        load_clip(path, rules(fps=16))
    assert levels(load_clip(path, rules(fps=10, num_frames=1)).frames) == [0]
    assert "29.7 s apart" in load_clip(path, rules()).changes[0]


def test_what_is_after_the_clip_is_not_looked_at(tmp_path: Path) -> None:
    path = grey_film(tmp_path / "a.mkv", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 30])
    assert levels(load_clip(path, rules(fps=10, num_frames=5)).frames) == [0, 1, 2, 3, 4]


@pytest.fixture
def two_sizes(tmp_path: Path) -> Path:
    """Two recordings of different sizes in one file."""
    parts = [
        write_video(tmp_path / f"{height}.ts", greys(9, height, 64, start)) for height, start in ((64, 0), (32, 9))
    ]
    return joined(tmp_path / "call.mpg", *parts)


def test_a_size_that_changes_is_refused_where_none_is_asked_for(two_sizes: Path) -> None:
    with pytest.raises(
        DataError, match=r"its size changes \(from 64x64 to 64x32 at frame 9\); set --height and --width"
    ):
        load_clip(two_sizes, rules())
    assert len(load_clip(two_sizes, rules(num_frames=5)).frames) == 5


def test_a_size_that_changes_is_scaled_and_said_where_one_is_asked_for(two_sizes: Path) -> None:
    clip = load_clip(two_sizes, rules(height=32, width=32))
    assert levels(clip.frames) == list(range(17))
    said = [change for change in clip.changes if "sizes" in change]
    assert said == ["frames of several sizes, each scaled (from 64x64 to 64x32 at frame 9)"]


def test_a_clip_that_memory_does_not_hold_is_refused_with_its_size(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_core.data.encoding.clips.room_for_a_clip", lambda: 12 * 32 * 32 * 3)
    path = make_video(25)
    with pytest.raises(DataError, match=r"its 25 frames of 32x32 pixels are .* ask for fewer with --num-frames"):
        load_clip(path, rules())
    with pytest.raises(DataError, match="its 17 frames of 32x32 pixels"):
        load_clip(path, rules(num_frames=17))
    assert len(load_clip(path, rules(num_frames=9)).frames) == 9


def test_hdr_is_refused_where_that_is_asked_for(tmp_path: Path) -> None:
    frame = deep_grey(np.full((64, 64), 500, np.uint16))
    path = write_frames(tmp_path / "a.mkv", [frame] * 5, color_trc=16, colorspace=9, color_primaries=9)
    with pytest.raises(DataError, match=r"it is HDR \(PQ\), and --hdr refuse was given; --hdr tone-map makes it SDR"):
        load_clip(path, rules(hdr="refuse"))
    assert load_clip(path, rules()).changes == ("tone-mapped from HDR (PQ) to SDR",)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "gif"])
def test_a_video_of_one_frame_is_one_frame(tmp_path: Path, suffix: str) -> None:
    if suffix == "gif":
        Image.fromarray(grey(70)).save(tmp_path / "a.gif")
    else:
        codec, pixels = ("libvpx", "yuv420p") if suffix == "webm" else ("libx264", "yuv444p")
        write_video(tmp_path / f"a.{suffix}", [grey(70)], codec=codec, pixels=pixels)
    assert levels(load_clip(tmp_path / f"a.{suffix}", rules()).frames) == [7]


def test_an_animation_is_resampled_like_any_video(tmp_path: Path) -> None:
    first, *rest = map(Image.fromarray, greys(5))
    first.save(
        tmp_path / "a.webp", save_all=True, append_images=rest, duration=[100, 100, 300, 100, 100], lossless=True
    )
    clip = load_clip(tmp_path / "a.webp", rules(fps=10, num_frames=5))
    assert (levels(clip.frames), clip.fps) == ([0, 1, 2, 2, 2], 10)
