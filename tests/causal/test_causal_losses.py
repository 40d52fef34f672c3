"""The losses of causal students against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill_core.flow import shift_timestep
from distill_core.testing.contracts import toy_draw
from distill_method_causal.blocks import block_count, of_frames
from distill_method_causal.losses import bell_weight, consistency_loss, forcing_loss, regression_loss


def filled(values: list[list[float]]) -> Tensor:
    """Each number over a frame of 1 × 2 × 2, [B, T, 1, 2, 2]."""
    return torch.tensor(values)[:, :, None, None, None].expand(-1, -1, 1, 2, 2)


def table(shift: float) -> Tensor:
    return shift_timestep(1000.0 * (1.0 - torch.arange(1000, dtype=torch.float64) / 1000.0), shift)


def test_the_bell_has_mean_1_is_greatest_in_the_middle_and_nothing_at_pure_noise() -> None:
    weights = bell_weight(table(5.0), table(5.0))
    assert weights.mean().item() == pytest.approx(1.0)
    assert weights.max().item() == pytest.approx(2.076, abs=5e-4)
    assert table(5.0)[weights.argmax()].item() == pytest.approx(500.6, abs=0.05)
    assert bell_weight(torch.tensor([1000.0], dtype=torch.float64), table(5.0)).item() == 0.0


def test_forcing_loss_weighs_each_frame_by_its_own_noise_level() -> None:
    velocity, x0, noise = filled([[1.0, 2.0]]), filled([[0.0, 0.0]]), filled([[0.5, 0.0]])
    assert forcing_loss(velocity, x0, noise).item() == pytest.approx((0.25 + 4.0) / 2)
    weight = torch.tensor([[2.0, 0.5]])
    assert forcing_loss(velocity, x0, noise, weight).item() == pytest.approx((0.5 + 2.0) / 2)


def test_regression_counts_each_samples_noisy_frames_alone() -> None:
    guess, end = filled([[1.0, 5.0], [2.0, 4.0]]), filled([[0.0, 0.0], [0.0, 0.0]])
    counted = torch.tensor([[True, False], [True, True]])
    assert regression_loss(guess, end, counted).item() == pytest.approx((1.0 + (4.0 + 16.0) / 2) / 2)


def test_regression_of_a_constant_error_of_the_velocity_is_by_hand() -> None:
    """A teacher of constant velocity c ends at x1 - c; a student of c + d errs by σ d: mean (σ d)² = .25 for d = .5 at σ = 1."""
    start, c, d = torch.randn(2, 3, 1, 2, 2), 0.7, 0.5
    guess, end = start - (c + d), start - c
    assert regression_loss(guess, end, torch.ones(2, 3, dtype=torch.bool)).item() == pytest.approx(0.25, rel=1e-5)


def test_consistency_trains_the_nearer_point_towards_nothing() -> None:
    guess, target = torch.ones(1, 2, 1, 2, 2, requires_grad=True), torch.zeros(1, 2, 1, 2, 2, requires_grad=True)
    consistency_loss(guess, target).backward()
    assert target.grad is None
    assert guess.grad is not None
    assert guess.grad.eq(2.0 / guess.numel()).all()


def test_what_is_drawn_for_a_block_holds_for_its_frames_and_the_last_block_has_what_is_left() -> None:
    assert block_count(7, 3) == 3
    assert of_frames(torch.tensor([[1, 2, 3]]), 7, 3).tolist() == [[1, 1, 1, 2, 2, 2, 3]]


def test_blocks_draw_levels_of_their_own_and_samples_too() -> None:
    drawn = toy_draw(1).uniform("timestep", count=3)
    assert len(set(drawn.flatten().tolist())) == 9
