"""Drift of clips that are made so that each figure is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from distill_core.errors import DataError
from distill_core.protocols import SampledVideo
from distill_metric_drift.config import DriftOptions
from distill_metric_drift.metric import DriftMetric, look


def clip(*frames: Tensor) -> SampledVideo:
    return SampledVideo("a thing", 0, torch.stack(frames), 1)


def grey(value: int, square: int | None = None, at: int = 0) -> Tensor:
    """A frame of 8 × 8; a square of 2 × 2 of another grey, its left edge at a column."""
    frame = torch.full((8, 8, 3), value, dtype=torch.uint8)
    if square is not None:
        frame[3:5, at : at + 2] = square
    return frame


def measured(*videos: SampledVideo, window: int | None = 1) -> dict[str, float]:
    return dict(DriftMetric(DriftOptions(window_frames=window)).measure(videos))


def test_a_clip_that_stays_has_no_drift() -> None:
    still = measured(clip(*(grey(20, 220, 3) for _ in range(4))))
    assert still == {"colour": 0.0, "contrast": 1.0, "place": 0.0, "frames": 4.0}


def test_colour_is_how_far_the_mean_goes_and_the_mean_is_over_clips() -> None:
    brighter, same = clip(grey(0), grey(102)), clip(grey(50), grey(50))
    assert measured(brighter)["colour"] == pytest.approx(0.4)
    assert measured(brighter, same)["colour"] == pytest.approx(0.2)


def test_contrast_is_the_ends_over_the_beginnings() -> None:
    burnt = measured(clip(grey(0, 100, 3), grey(0, 200, 3)))
    assert burnt["contrast"] == pytest.approx(2.0)
    assert "contrast" not in measured(clip(grey(9), grey(9))), "nothing can be told of clips without any"


def test_saturation_is_of_colour_alone() -> None:
    red, redder = grey(0), grey(0)
    red[..., 0], redder[..., 0] = 100, 150
    assert measured(clip(red, redder))["saturation"] == pytest.approx(1.5)


def test_place_is_how_far_the_thing_moved_as_a_share_of_the_frame() -> None:
    moved = measured(clip(grey(0, 200, 0), grey(0, 200, 2), grey(0, 200, 4)))
    assert moved["place"] == pytest.approx(4 / 8)
    assert look(np.zeros((1, 8, 8, 3))).place_2.tolist() == [0.5, 0.5]


def test_beginning_and_end_are_a_quarter_each_unless_it_is_said() -> None:
    ramp = clip(*(grey(10 * index) for index in range(8)))
    assert measured(ramp, window=None)["colour"] == pytest.approx(60 / 255)
    assert measured(ramp, window=4)["colour"] == pytest.approx(40 / 255)


@pytest.mark.parametrize(("frames", "window"), [(1, None), (9, 5)])
def test_clips_whose_beginning_is_their_end_are_refused_with_the_remedy(frames: int, window: int | None) -> None:
    with pytest.raises(DataError, match=r"make longer clips, or set metrics\.drift\.window_frames"):
        DriftMetric(DriftOptions(window_frames=window)).check(["a"], (frames, 8, 8))


def test_it_is_found_as_a_plugin(tmp_path: Path) -> None:
    from distill_core.plugins.discovery import discover

    assert discover().metrics["drift"].headline == ("colour", "contrast", "place")
