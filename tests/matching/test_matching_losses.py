"""Gradient, guidance and the critic's losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill_matching.losses import critic_velocity_loss, critic_x0_loss, dmd_gradient, dmd_loss, guided


def samples(*values: list[float]) -> torch.Tensor:
    """One sample per list, each [1, 1, 1, n]."""
    return torch.tensor(values, dtype=torch.float64).view(len(values), 1, 1, 1, -1)


X = samples([1.0, 3.0], [2.0, 2.0])
FAKE = samples([2.0, 2.0], [6.0, 4.0])
REAL = samples([0.0, 1.0], [4.0, 8.0])
# |x - real| = [1, 2] and [2, 6]: means 1.5 and 4 per sample, 2.75 over the batch. fake - real = [2, 1] and [2, -4].


def test_gradient_is_normalised_per_sample() -> None:
    expected = samples([2 / 1.5, 1 / 1.5], [2 / 4, -4 / 4])
    torch.testing.assert_close(dmd_gradient(X, FAKE, REAL, "per_sample"), expected)


def test_gradient_is_normalised_per_batch() -> None:
    expected = samples([2 / 2.75, 1 / 2.75], [2 / 2.75, -4 / 2.75])
    torch.testing.assert_close(dmd_gradient(X, FAKE, REAL, "per_batch"), expected)


def test_gradient_without_normaliser_is_the_difference() -> None:
    torch.testing.assert_close(dmd_gradient(X, FAKE, REAL, "none"), samples([2.0, 1.0], [2.0, -4.0]))


def test_per_sample_gradient_does_not_depend_on_the_rest_of_the_batch() -> None:
    alone = dmd_gradient(X[:1], FAKE[:1], REAL[:1], "per_sample")
    torch.testing.assert_close(dmd_gradient(X, FAKE, REAL, "per_sample")[:1], alone)


def test_a_sample_that_the_teacher_does_not_move_has_a_finite_gradient() -> None:
    gradient = dmd_gradient(X, FAKE, X, "per_sample", floor=1e-3)
    torch.testing.assert_close(gradient[0], (FAKE - X)[0] / 1e-3)


def test_loss_value_is_half_the_mean_square_of_the_gradient() -> None:
    gradient = samples([2.0, 1.0], [2.0, -4.0])  # squares 4 + 1 + 4 + 16 = 25, over 4 elements, halved
    assert dmd_loss(X, gradient).item() == pytest.approx(25 / 4 / 2)


def test_derivative_of_the_loss_is_the_gradient_over_the_number_of_elements() -> None:
    x = X.clone().requires_grad_()
    gradient = dmd_gradient(X, FAKE, REAL)
    dmd_loss(x, gradient).backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, gradient / 4, rtol=1e-6, atol=1e-7)


def test_a_nan_is_not_masked() -> None:
    broken = FAKE.clone()
    broken[0, 0, 0, 0, 0] = math.nan
    assert dmd_loss(X, dmd_gradient(X, broken, REAL)).isnan()


def test_critic_velocity_loss_by_hand() -> None:
    velocity, x, noise = samples([1.0, 2.0]), samples([1.0, -1.0]), samples([3.0, 0.0])
    # targets 2 and 1: errors -1 and 1
    assert critic_velocity_loss(velocity, x, noise).item() == pytest.approx(1.0)


def test_critic_x0_loss_by_hand() -> None:
    assert critic_x0_loss(samples([1.0, 4.0]), samples([0.0, 1.0])).item() == pytest.approx((1 + 9) / 2)


@given(sigma=st.floats(0.01, 1.0), v=st.floats(-3, 3), x=st.floats(-3, 3), noise=st.floats(-3, 3))
def test_x0_loss_is_sigma_squared_times_velocity_loss(sigma: float, v: float, x: float, noise: float) -> None:
    noisy = (1 - sigma) * x + sigma * noise
    in_x0 = critic_x0_loss(samples([noisy - sigma * v]), samples([x]))
    in_velocity = critic_velocity_loss(samples([v]), samples([x]), samples([noise]))
    assert in_x0.item() == pytest.approx(sigma**2 * in_velocity.item(), rel=1e-4, abs=1e-6)


@given(w=st.floats(-1, 10), cond=st.floats(-3, 3), uncond=st.floats(-3, 3))
def test_both_guidance_conventions_agree_at_s_equal_w_plus_one(w: float, cond: float, uncond: float) -> None:
    standard = guided(samples([cond]), samples([uncond]), w + 1)
    assert standard.item() == pytest.approx(cond + w * (cond - uncond), abs=1e-9)
