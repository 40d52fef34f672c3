"""SiD's and SGMD's losses against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill_matching.score_identity import sid_loss
from distill_method_sid.losses import correction, fisher_term


def samples(*values: float, grad: bool = False) -> Tensor:
    """One sample of so many elements."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, 1, -1).requires_grad_(grad)


def test_the_score_identity_by_hand() -> None:
    # r - f = -.3, r - x = -.6: -.3 · (-.6 + .3) = .09, over |x - r| = .6.
    assert sid_loss(samples(1.0), samples(0.7), samples(0.4), 1.0).item() == pytest.approx(0.15)
    # Without α: -.3 · -.6 = .18.
    assert sid_loss(samples(1.0), samples(0.7), samples(0.4), 0.0).item() == pytest.approx(0.3)


def test_equal_scores_are_an_equilibrium_in_value_and_in_slope() -> None:
    x = samples(1.0, -2.0, grad=True)
    score = samples(0.4, 0.1)
    loss = sid_loss(x, score, score, 1.0)
    loss.backward()
    assert loss.item() == 0.0
    assert x.grad is not None
    assert not x.grad.any()


def test_a_sample_that_the_teacher_does_not_move_has_a_finite_loss() -> None:
    assert sid_loss(samples(1.0), samples(0.7), samples(1.0), 1.0).isfinite()


def test_the_divisor_is_each_samples_own_and_constant() -> None:
    x = samples(1.0, grad=True)
    sid_loss(x, samples(0.7), samples(0.4), 1.0).backward()
    # d/dx of -.3 · (.4 - x + .3) / .6 with the divisor held: .3 / .6.
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(0.5)


def test_the_fisher_term_by_hand() -> None:
    # ½ mean((.3)², (0)²) over mean(|1 - .4|, |0 - 1|) = .8.
    assert fisher_term(samples(1.0, 0.0), samples(0.7, 1.0), samples(0.4, 1.0)).item() == pytest.approx(0.045 / 2 / 0.8)
    assert fisher_term(samples(1.0), samples(0.4), samples(0.4)).item() == 0.0


def test_the_correction_by_hand() -> None:
    t_B, f = torch.tensor([500.0], dtype=torch.float64), samples(0.7, grad=True)
    loss = correction(samples(1.0), f, t_B)
    loss.backward()
    assert loss.item() == pytest.approx(0.5 * (0.3 / 0.5) ** 2)
    assert f.grad is not None
    assert f.grad.item() == pytest.approx(-0.3 / 0.5)
