"""examples/shapes/world.py and outlines.py: what is drawn, and of what it is a function."""

from __future__ import annotations

import numpy as np
import pytest

from distill_metric_shapes.captions import LARGE, MEDIUM, SHAPES, SMALL, Setting, captions
from distill_metric_shapes.outlines import coverage, unit_bounds, unit_distance, unit_radius
from distill_metric_shapes.world import DIRECTIONS, GAP, Track, make_clip


def test_a_clip_depends_on_seed_and_index_and_on_nothing_drawn_before() -> None:
    in_order = [make_clip(SMALL, 3, index).frames_FHW3 for index in range(5)]
    alone = make_clip(SMALL, 3, 4).frames_FHW3
    assert np.array_equal(alone, in_order[4])
    assert not np.array_equal(alone, make_clip(SMALL, 4, 4).frames_FHW3)


def test_clips_of_one_caption_differ_in_size_place_and_speed() -> None:
    by_caption: dict[str, list[Track]] = {}
    for index in range(96):
        clip = make_clip(SMALL, 3, index)
        by_caption.setdefault(clip.caption, []).extend(clip.tracks)
    for one, other in by_caption.values():
        assert one.area_F[0] != other.area_F[0]
        assert not np.allclose(one.centre_F2[0], other.centre_F2[0])
        travelled = [np.linalg.norm(track.centre_F2[-1] - track.centre_F2[0]) for track in (one, other)]
        assert travelled[0] != pytest.approx(travelled[1])


def test_every_caption_comes_once_before_any_comes_again() -> None:
    assert {make_clip(SMALL, 0, index).caption for index in range(48)} == set(captions(SMALL))
    kept = {make_clip(SMALL, 0, index, "exclude").caption for index in range(42, 84)}
    assert kept == set(captions(SMALL, "exclude"))


def test_rounds_of_captions_come_in_different_orders() -> None:
    first, second = ([make_clip(SMALL, 0, start + index).caption for index in range(48)] for start in (0, 48))
    assert first != second


@pytest.mark.parametrize("setting", [SMALL, MEDIUM, LARGE])
def test_things_stay_inside_the_frame_and_move_as_their_caption_says(setting: Setting) -> None:
    for index in range(24):
        clip = make_clip(setting, 1, index)
        assert clip.frames_FHW3.shape == (setting.frames, setting.size, setting.size, 3)
        for track in clip.tracks:
            low_2, high_2 = unit_bounds(track.thing.shape)
            scale_F1 = np.sqrt(track.area_F)[:, None]
            assert (track.centre_F2 + scale_F1 * low_2 > 0).all()
            assert (track.centre_F2 + scale_F1 * high_2 < setting.size).all()
            moved_2 = track.centre_F2[-1] - track.centre_F2[0]
            along = float(moved_2 @ np.array(DIRECTIONS.get(track.thing.motion, (0.0, 0.0))))
            assert np.linalg.norm(moved_2) == pytest.approx(along)
            if track.thing.motion in DIRECTIONS:
                assert setting.travel[0] <= along <= setting.travel[1]


def test_two_things_of_one_clip_never_touch() -> None:
    for index in range(1, 24, 2):
        one, other = make_clip(LARGE, 2, index).tracks
        distance_F = np.linalg.norm(one.centre_F2 - other.centre_F2, axis=1)
        reach_F = sum(np.sqrt(track.area_F) * unit_radius(track.thing.shape) for track in (one, other))
        assert (distance_F >= reach_F + GAP).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_covered_area_is_the_area_asked_for_and_is_centred(shape: str) -> None:
    cover_HW = coverage(shape, np.array([[15.3, 16.6]]), np.array([150.0]), 32)[0]
    assert cover_HW.sum() == pytest.approx(150.0, rel=0.01)
    grid = np.arange(32) + 0.5
    assert cover_HW.sum(axis=0) @ grid / cover_HW.sum() == pytest.approx(15.3, abs=0.1)
    assert cover_HW.sum(axis=1) @ grid / cover_HW.sum() == pytest.approx(16.6, abs=0.1)


def test_distances_to_a_square_are_those_worked_out_by_hand() -> None:
    x, y = np.array([0.0, 0.4, 1.5, 1.5]), np.array([0.0, 0.0, 0.0, 1.5])
    assert unit_distance("square", x, y) == pytest.approx([-0.5, -0.1, 1.0, np.sqrt(2.0)])


def test_a_triangle_points_up_and_a_pixel_cut_in_half_is_half_covered() -> None:
    low_2, high_2 = unit_bounds("triangle")
    assert -low_2[1] == pytest.approx(2.0 * high_2[1])
    cover_HW = coverage("square", np.array([[5.0, 5.0]]), np.array([25.0]), 10)[0]
    assert cover_HW[5, 2] == pytest.approx(0.5)
    assert cover_HW[5, 1] == 0.0
    assert cover_HW[5, 3] == 1.0
