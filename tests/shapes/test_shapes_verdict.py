"""examples/shapes/verdict.py: right on real clips as mp4 gives them back, wrong on clips made wrong by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import read_clips, write_folder

from distill_metric_shapes.captions import LARGE, MEDIUM, SMALL, Setting, captions
from distill_metric_shapes.measure import accuracy, measure
from distill_metric_shapes.verdict import features, judge
from distill_metric_shapes.world import BACKGROUND, Frames, make_clip


def _drawn(caption: str) -> Frames:
    return next(clip.frames_FHW3 for i in range(96) if (clip := make_clip(SMALL, 0, i)).caption == caption)


def test_every_caption_as_real_mp4_is_judged_right(real_clips: Path) -> None:
    clips = list(read_clips(real_clips, SMALL))
    assert {caption for _, caption in clips} == set(captions(SMALL))
    figures = accuracy(measure(clips, SMALL))
    assert (figures.all, figures.colour, figures.shape, figures.motion, figures.size) == (1.0, 1.0, 1.0, 1.0, 1.0)
    assert figures.iou > 0.97  # .99; with the halved chroma of an ordinary mp4 it would be .91


@pytest.mark.parametrize("setting", [MEDIUM, LARGE])
def test_larger_worlds_as_real_mp4_are_judged_right(setting: Setting, tmp_path: Path) -> None:
    drawn = [make_clip(setting, 0, index) for index in range(12)]
    write_folder(tmp_path / "clips", ((clip.frames_FHW3, clip.caption) for clip in drawn), setting.fps)
    assert accuracy(measure(read_clips(tmp_path / "clips", setting), setting)).all == 1.0


def test_shuffled_captions_are_right_by_chance_only(real_clips: Path) -> None:
    frames, said = zip(*read_clips(real_clips, SMALL), strict=True)
    order = np.random.default_rng(0).permutation(len(said))
    figures = accuracy(measure(zip(frames, (said[i] for i in order), strict=True), SMALL))
    assert figures.all < 0.1
    assert figures.colour == pytest.approx(1 / 4, abs=0.12)
    assert figures.shape == pytest.approx(1 / 3, abs=0.12)
    assert figures.motion == pytest.approx(1 / 4, abs=0.12)


@pytest.mark.parametrize(
    ("caption", "wrong"),
    [
        ("a blue square moves left", "colour"),
        ("a red circle moves left", "shape"),
        ("a red triangle moves left", "shape"),
        ("a red square moves right", "motion"),
        ("a red square moves up", "motion"),
    ],
)
def test_one_wrong_word_makes_one_thing_wrong(caption: str, wrong: str) -> None:
    verdict = judge(_drawn("a red square moves left"), caption, SMALL)
    assert not verdict.right
    rights = {"colour": verdict.colour, "shape": verdict.shape, "motion": verdict.motion, "size": verdict.size}
    assert [name for name, right in rights.items() if not right] == [wrong]


def test_a_still_video_does_not_move() -> None:
    frames_FHW3 = _drawn("a red square moves left")
    still_FHW3 = np.repeat(frames_FHW3[:1], SMALL.frames, axis=0)
    verdict = judge(still_FHW3, "a red square moves left", SMALL)
    assert (verdict.colour, verdict.shape, verdict.motion) == (True, True, False)
    assert verdict.seen[0].motion == "stays"


def test_a_thing_that_vanishes_for_one_frame_has_no_plausible_size() -> None:
    frames_FHW3 = _drawn("a green circle moves down").copy()
    frames_FHW3[4] = round(BACKGROUND * 255)
    verdict = judge(frames_FHW3, "a green circle moves down", SMALL)
    assert not verdict.size
    assert not verdict.right


@pytest.mark.parametrize("level", [0, 20, 255])
def test_an_empty_or_full_video_is_wrong_and_its_features_are_finite(level: int) -> None:
    frames_FHW3 = np.full((9, 32, 32, 3), level, dtype=np.uint8)
    verdict = judge(frames_FHW3, "a red square moves left", SMALL)
    assert not verdict.right
    assert not verdict.colour
    assert features(frames_FHW3, SMALL).shape == (10,)
    assert np.isfinite(features(frames_FHW3, SMALL)).all()


def test_a_second_thing_that_no_caption_names_spoils_the_video() -> None:
    one, other = _drawn("a red square moves left"), _drawn("a blue circle moves right")
    assert not judge(np.maximum(one, other), "a red square moves left", SMALL).right


def test_a_colour_that_is_near_none_of_the_world_is_no_colour() -> None:
    frames_FHW3 = _drawn("a yellow square moves left")
    grey_FHW3 = np.repeat(frames_FHW3.max(axis=-1, keepdims=True), 3, axis=-1)
    verdict = judge(grey_FHW3, "a yellow square moves left", SMALL)
    assert (verdict.colour, verdict.shape, verdict.motion) == (False, True, True)


def test_noise_is_no_shape() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    assert not any(judge(noise, caption, SMALL).right for caption in captions(SMALL))


def test_what_is_seen_is_what_was_drawn() -> None:
    for index in range(12):
        clip = make_clip(SMALL, 9, index)
        (seen,), (track,) = judge(clip.frames_FHW3, clip.caption, SMALL).seen, clip.tracks
        assert seen.area_F == pytest.approx(track.area_F, rel=0.03)
        assert seen.centre_F2 == pytest.approx(track.centre_F2, abs=0.15)
        assert seen.iou > 0.97


def test_growing_shrinking_and_staying_are_told_apart() -> None:
    for index in range(0, 48, 2):
        clip = make_clip(LARGE, 1, index)
        (seen,), (track,) = judge(clip.frames_FHW3, clip.caption, LARGE).seen, clip.tracks
        assert seen.motion == track.thing.motion
