"""examples/shapes/distances.py: distances between sets of videos, and how varied a set is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_core.errors import DataError
from distill_metric_shapes.captions import SMALL
from distill_metric_shapes.distances import coverage, energy_distance, spreads
from distill_metric_shapes.measure import Sample, compare, measure
from distill_metric_shapes.world import make_clip


@pytest.fixture(scope="module")
def sample() -> Sample:
    clips = (make_clip(SMALL, 0, index) for index in range(96))
    return measure(((clip.frames_FHW3, clip.caption) for clip in clips), SMALL)


@given(st.integers(0, 1000), st.integers(2, 20), st.integers(2, 20), st.floats(-3, 3))
def test_energy_distance_is_never_negative_and_zero_for_equal_sets(seed: int, n: int, m: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.standard_normal((n, 3)) + shift, rng.standard_normal((m, 3))
    assert energy_distance(one, other) >= 0.0
    assert energy_distance(one, rng.permutation(one)) == pytest.approx(0.0, abs=1e-9)


def test_energy_distance_of_two_points_is_the_one_worked_out_by_hand() -> None:
    reference = np.array([[-1.0], [1.0]])  # mean 0, standard deviation 1: left as it is
    assert energy_distance(np.array([[2.0]]), reference) == pytest.approx(2.0 * 2.0 - 0.0 - 1.0)


def test_coverage_is_one_for_the_set_itself_and_zero_for_one_far_away() -> None:
    reference = np.random.default_rng(0).standard_normal((50, 4))
    assert coverage(reference, reference) == 1.0
    assert coverage(reference + 100.0, reference) == 0.0
    assert coverage(reference[:1], reference) < 0.5


def test_the_spreads_of_real_clips_are_those_of_the_uniform_draws(sample: Sample) -> None:
    found = spreads(sample.verdicts)
    assert found.size == pytest.approx((170 - 90) / np.sqrt(12), rel=0.2)
    assert found.speed == pytest.approx((11 - 7) / np.sqrt(12), rel=0.2)
    assert 4.0 < found.place < 6.0


def test_a_set_against_itself_is_at_no_distance(sample: Sample) -> None:
    same = compare(sample, sample)
    assert same.energy_distance == pytest.approx(0.0, abs=1e-9)
    assert same.coverage == 1.0
    assert (same.spreads.size, same.spreads.place, same.spreads.speed) == (1.0, 1.0, 1.0)


def test_a_collapsed_set_is_all_right_but_far_and_narrow(sample: Sample) -> None:
    few = Sample(sample.verdicts[:4] * 24, np.tile(sample.features_ND[:4], (24, 1)))
    collapsed = compare(few, sample)
    assert all(verdict.right for verdict in few.verdicts)
    assert collapsed.coverage < 0.5
    assert collapsed.energy_distance > 0.1


def test_a_reference_of_too_few_clips_is_refused(sample: Sample) -> None:
    few = Sample(sample.verdicts[:3], sample.features_ND[:3])
    with pytest.raises(DataError, match="more than 5 clips"):
        compare(sample, few)
