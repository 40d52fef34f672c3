"""Losses and densities of finetuning against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill_method_finetune.losses import logit_normal, mode, velocity_loss, x0_loss


def sample(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, 1, -1)


def test_velocity_loss_by_hand() -> None:
    # targets ε - x0 = 2, -3; errors 1 - 2 = -1 and 0 + 3 = 3
    assert velocity_loss(sample(1, 0), sample(1, 2), sample(3, -1)).item() == pytest.approx((1 + 9) / 2)


def test_x0_loss_by_hand() -> None:
    # σ = ½, x0 = 4, ε = 2: x_t = 3; v = 2 gives x̂0 = 2, error -2
    assert x0_loss(sample(2), sample(3), sample(4), torch.tensor([0.5])).item() == pytest.approx(4.0)


@given(sigma=st.floats(0.01, 1.0), v=st.floats(-3, 3), x=st.floats(-3, 3), noise=st.floats(-3, 3))
def test_x0_loss_is_sigma_squared_times_velocity_loss(sigma: float, v: float, x: float, noise: float) -> None:
    noisy = sample((1 - sigma) * x + sigma * noise)
    in_x0 = x0_loss(sample(v), noisy, sample(x), torch.tensor([sigma], dtype=torch.float64))
    in_velocity = velocity_loss(sample(v), sample(x), sample(noise))
    assert in_x0.item() == pytest.approx(sigma**2 * in_velocity.item(), rel=1e-4, abs=1e-6)


def test_logit_normal_by_hand() -> None:
    drawn = logit_normal(torch.tensor([0.0, 1.0], dtype=torch.float64), mean=0.5, std=2.0)
    torch.testing.assert_close(drawn, torch.tensor([1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(-2.5))]).double())


def test_mode_density_by_hand() -> None:
    # s = 1, u = 1/3: cos²(π/6) = 3/4, σ = 2/3 - (3/4 - 1 + 1/3) = 2/3 - 1/12
    assert mode(torch.tensor([1 / 3], dtype=torch.float64), 1.0).item() == pytest.approx(2 / 3 - 1 / 12)


def test_mode_density_with_scale_zero_is_uniform_reversed() -> None:
    u = torch.linspace(0, 1, 5, dtype=torch.float64)
    torch.testing.assert_close(mode(u, 0.0), 1 - u)


@given(u=st.floats(0, 1), scale=st.floats(-1, 1.75))
def test_mode_density_stays_between_zero_and_one(u: float, scale: float) -> None:
    assert -1e-6 <= mode(torch.tensor([u], dtype=torch.float64), scale).item() <= 1 + 1e-6
