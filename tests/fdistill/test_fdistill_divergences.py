"""The weights of f-distill against its table, against the functions that they come from, and their running means."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from distill_core.testing.contracts import toy_roles
from distill_method_fdistill.config import Divergence, FdistillOptions
from distill_method_fdistill.divergences import WEIGHTS, density_ratio, weight
from distill_method_fdistill.plugin import spec
from distill_method_fdistill.ratio import RatioDiscriminator

TABLE: dict[Divergence, tuple[float, float]] = {
    "rkl": (1, 1), "kl": (1, 2), "js": (0.5, 0.6667), "sf": (0.5, 0.3333), "neyman": (1, 0.5), "sh": (1, 1.4142), "jf": (2, 3),
}  # fmt: skip
"""h at r = 1 and at r = 2."""

GENERATORS = {
    "rkl": lambda r: -r.log(),
    "kl": lambda r: r * r.log(),
    "js": lambda r: r * r.log() - (r + 1) * ((r + 1) / 2).log(),
    "sf": lambda r: (r + 1) * (0.5 + 0.5 / r).log(),
    "neyman": lambda r: (1 - r) ** 2 / r,
    "sh": lambda r: (1 - r.sqrt()) ** 2,
    "jf": lambda r: (r - 1) * r.log(),
}
"""f of D_f(p ‖ q) = E_q[f(p / q)]."""


@pytest.mark.parametrize("name", TABLE)
def test_a_weight_is_the_tables(name: Divergence) -> None:
    assert weight(name, torch.tensor([1.0, 2.0])).tolist() == pytest.approx(TABLE[name], abs=5e-5)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_is_r_squared_times_the_second_derivative_up_to_a_factor(name: Divergence) -> None:
    r = torch.tensor([0.2, 1.0, 3.0, 11.0], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(GENERATORS[name](r).sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    factor = weight(name, r.detach()) / (r.detach() ** 2 * second)
    torch.testing.assert_close(factor, factor[0].expand(4))


def test_a_density_ratio_is_the_exponential_of_a_logit_within_bounds() -> None:
    found = density_ratio(torch.tensor([0.0, math.log(2.0), 99.0, -99.0]), 0.1, 20.0)
    assert found.tolist() == pytest.approx([1.0, 2.0, 20.0, 0.1])


def discriminator(**options: object) -> RatioDiscriminator:
    module = toy_roles(spec(), FdistillOptions.model_validate({"weight_bins": 2, "weight_keep": 0.75, **options}))[
        "discriminator"
    ].module
    assert isinstance(module, RatioDiscriminator)
    return module


def times(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_running_means_by_hand() -> None:
    judge = discriminator()
    judge.learn(torch.tensor([2.0, 4.0, 5.0]), times(100.0, 499.0, 1000.0))
    # means of 1: .75 + .25 · 3 and .75 + .25 · 5.
    assert judge.mean_weight.tolist() == pytest.approx([1.5, 2.0])
    assert judge.mean_at(times(0.0, 500.0)).tolist() == pytest.approx([1.5, 2.0])


def test_a_bin_without_samples_keeps_its_mean() -> None:
    judge = discriminator()
    judge.learn(torch.tensor([3.0]), times(700.0))
    assert judge.mean_weight.tolist() == pytest.approx([1.0, 1.5])


def test_a_gan_of_no_weight_is_refused_for_nobody_would_learn_the_ratio() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        FdistillOptions(gan_weight=0.0)


def test_bounds_that_are_exchanged_are_refused() -> None:
    with pytest.raises(ValidationError, match="ratio_min is above ratio_max; exchange them"):
        FdistillOptions(ratio_min=2.0, ratio_max=1.0)
