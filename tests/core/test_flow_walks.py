"""Walks from noise to a sample, with velocities that can be worked out by hand; and the mode that modules walk in."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from distill_core.flow.guided import evaluating
from distill_core.flow.walks import euler, sde


class Drawn:
    """Noise that can be looked at: the numbers of a seed, one draw after another."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self) -> Tensor:
        return torch.randn(1, 2, 16, 4, 4, generator=self._generator)


def draws(count: int) -> list[Tensor]:
    noise = Drawn()
    return [noise.draw() for _ in range(count)]


def test_sde_noises_each_prediction_anew() -> None:
    first, second = draws(2)
    asked: list[float] = []

    def velocity(x: Tensor, t_B: Tensor) -> Tensor:
        asked.append(t_B.item())
        return torch.full_like(x, 2.0)

    sample = sde(velocity, (1000.0, 250.0), Drawn())
    x0 = first - 2.0
    expected = (0.75 * x0 + 0.25 * second) - 0.25 * 2.0
    assert asked == [1000.0, 250.0]
    torch.testing.assert_close(sample, expected, rtol=0, atol=1e-6)


def test_one_sde_step_is_the_prediction() -> None:
    (first,) = draws(1)
    assert sde(lambda x, t: x, (1000.0,), Drawn()).equal(first - first)


def test_euler_follows_a_constant_velocity_to_the_end() -> None:
    (first,) = draws(1)
    sample = euler(lambda x, t: torch.full_like(x, 3.0), (1000.0, 700.0, 100.0), Drawn())
    torch.testing.assert_close(sample, first - 3.0, rtol=0, atol=1e-5)


def test_modes_come_back_after_a_failure() -> None:
    module = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    module[0].eval()
    with suppress(ValueError), evaluating({"m": module}):
        assert not any(each.training for each in module.modules())
        raise ValueError
    assert [each.training for each in module.modules()] == [True, False, True]
