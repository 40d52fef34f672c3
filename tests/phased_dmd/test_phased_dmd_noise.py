"""Noise from an anchor against numbers worked out by hand, and against what it must add up to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distill_method_phased_dmd.anchored import noised_from


def coefficients(s: float, t: float) -> tuple[Tensor, Tensor]:
    """(α, β) of x_t, and the factors of anchor and noise in its derivative."""
    unit = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1, 1)
    found = noised_from(unit, 1000 * s, 1.0 - unit, torch.full((2,), 1000 * t, dtype=torch.float64))
    return found.noisy_BTCHW.flatten().double(), found.velocity_BTCHW.flatten().double()


def test_the_coefficients_by_hand() -> None:
    # σ_s = .5, σ_t = .75: α = .25/.5, β² = .5625 - .0625; derivative: -1/.5 and (.75 + .25·.25/.25)/.7071.
    noisy, velocity = coefficients(0.5, 0.75)
    assert noisy.tolist() == pytest.approx([0.5, 0.70711], abs=1e-5)
    assert velocity.tolist() == pytest.approx([-2.0, 1.41421], abs=1e-5)


def test_from_a_clean_anchor_it_is_rectified_flow() -> None:
    noisy, velocity = coefficients(0.0, 0.3)
    assert noisy.tolist() == pytest.approx([0.7, 0.3])
    assert velocity.tolist() == pytest.approx([-1.0, 1.0])


@given(s=st.floats(0.0, 0.9), share=st.floats(0.1, 1.0), variance=st.floats(0.1, 4.0))
def test_what_is_noised_twice_has_the_variance_of_what_is_noised_once(s: float, share: float, variance: float) -> None:
    t = s + share * (1.0 - s)
    (alpha, beta), _ = coefficients(s, t)
    anchor = (1 - s) ** 2 * variance + s**2
    assert (alpha**2 * anchor + beta**2).item() == pytest.approx((1 - t) ** 2 * variance + t**2, rel=1e-4)


@pytest.mark.parametrize(("s", "t"), [(0.5, 0.75), (0.875, 0.93), (0.2, 0.9)])
def test_the_velocity_is_the_derivative(s: float, t: float) -> None:
    step = 1e-3
    (after, _), (before, _) = coefficients(s, t + step), coefficients(s, t - step)
    torch.testing.assert_close(coefficients(s, t)[1], (after - before) / (2 * step), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("variance", [0.25, 1.0, 3.0])
def test_for_gaussian_data_the_velocity_that_is_learnt_is_that_of_the_whole_flow(variance: float) -> None:
    """E[d x_t / dσ | x_t] / x_t, from the anchor's joint Gaussian, against E[ε - x_0 | x_t] / x_t."""
    s, t = 0.5, 0.8
    (alpha, beta), (of_anchor, of_noise) = coefficients(s, t)
    anchor = (1 - s) ** 2 * variance + s**2
    total = (1 - t) ** 2 * variance + t**2
    from_anchor = (of_anchor * alpha * anchor + of_noise * beta) / total
    assert from_anchor.item() == pytest.approx((t - (1 - t) * variance) / total, abs=1e-5)
