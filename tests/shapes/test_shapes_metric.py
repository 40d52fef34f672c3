"""The judge as a metric: real clips are right and as varied as real clips, shuffled captions are not, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from distill_core.errors import DataError
from distill_core.protocols import SampledVideo
from distill_metric_shapes.captions import SMALL, captions
from distill_metric_shapes.config import ShapesOptions
from distill_metric_shapes.metric import ShapesMetric
from distill_metric_shapes.world import make_clip

METRIC = ShapesMetric(ShapesOptions())


def real(count: int, seed: int = 11) -> list[SampledVideo]:
    clips = [make_clip(SMALL, seed, index, "include") for index in range(count)]
    return [SampledVideo(clip.caption, 0, torch.from_numpy(clip.frames_FHW3), 1) for clip in clips]


def test_real_clips_are_all_right_near_and_as_varied_as_other_real_clips() -> None:
    figures = METRIC.measure(real(144))
    assert figures["all_correct"] == figures["held_out_correct"] == 1.0
    assert figures["energy_distance"] < 0.08
    assert figures["coverage"] > 0.95
    assert 0.8 < figures["spread"] < 1.2


def test_shuffled_captions_are_right_by_chance_only() -> None:
    clips = real(144)
    shifted = [replace(clip, prompt=other.prompt) for clip, other in zip(clips, [*clips[7:], *clips[:7]], strict=True)]
    assert METRIC.measure(shifted)["all_correct"] < 0.1


def test_one_clip_repeated_is_right_but_covers_nothing_and_does_not_vary() -> None:
    figures = METRIC.measure(real(1) * 60)
    assert figures["all_correct"] == 1.0
    assert figures["coverage"] < 0.4
    assert figures["spread"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("count", [48, 84, 288])
def test_real_clips_cover_real_clips_whatever_their_number(count: int) -> None:
    assert METRIC.measure(real(count))["coverage"] > 0.94


def test_a_set_of_fewer_clips_than_asked_for_gets_shares_and_no_distances() -> None:
    few, enough = METRIC.measure(real(47)), METRIC.measure(real(48))
    assert (few["clips"], few["all_correct"]) == (47, 1.0)
    distances = {"energy_distance", "coverage", "spread", "spread_size", "spread_place", "spread_speed"}
    assert set(enough) - set(few) == distances
    assert distances <= set(ShapesMetric(ShapesOptions(least_clips=12)).measure(real(12)))


def test_held_out_accuracy_is_of_held_out_captions_only() -> None:
    seen = captions(SMALL, "exclude")
    clips = [clip for clip in real(96) if clip.prompt in seen]
    assert "held_out_correct" not in METRIC.measure(clips)


def test_it_refuses_videos_of_another_size_and_captions_outside_the_grammar() -> None:
    METRIC.check(captions(SMALL), (9, 32, 32))
    with pytest.raises(DataError, match="has 9 frames of 32×32, this run makes 9 frames of 64×48"):
        METRIC.check(captions(SMALL), (9, 48, 64))
    with pytest.raises(DataError, match="is no caption of the small shapes world"):
        METRIC.check(["a red square dances"], (9, 32, 32))


def test_captions_of_one_colour_do_not_make_a_hair_of_another_shade_a_distance() -> None:
    red = [clip for clip in real(480) if "red" in clip.prompt]
    shaded = [replace(clip, frames=(clip.frames.float() * 0.99).round().to(torch.uint8)) for clip in red]
    assert METRIC.measure(shaded)["energy_distance"] < METRIC.measure(red)["energy_distance"] + 0.05
    assert METRIC.measure(shaded)["coverage"] > 0.9
