"""Walks from noise to a sample, with velocities that can be worked out by hand; and the mode that modules walk in."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from distill_core.flow.guided import evaluating
from distill_core.flow.walks import by_blocks, euler, flow_map, sde, to_clean


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


def test_a_flow_map_jumps_from_each_timestep_to_the_next() -> None:
    """The mean velocity of the curve x = x_1 (σ^2 + 1) / 2 from t to r is x_1 (t + r) / 2: the jumps land on x_1 / 2, whatever the grid."""
    (first,) = draws(1)
    asked: list[tuple[float, float]] = []

    def jump(x: Tensor, t_B: Tensor, r_B: Tensor) -> Tensor:
        asked.append((t_B.item(), r_B.item()))
        return first * ((t_B + r_B) / 2000.0).float()

    torch.testing.assert_close(flow_map(jump, (1000.0, 600.0, 100.0), Drawn()), first / 2.0, rtol=0, atol=1e-6)
    assert asked == [(1000.0, 600.0), (600.0, 100.0), (100.0, 0.0)]


def test_noised_anew_a_flow_map_jumps_to_the_end_each_time() -> None:
    asked: list[tuple[float, float]] = []

    def jump(x: Tensor, t_B: Tensor, r_B: Tensor) -> Tensor:
        asked.append((t_B.item(), r_B.item()))
        return x

    sde(to_clean(jump), (1000.0, 250.0), Drawn())
    assert asked == [(1000.0, 0.0), (250.0, 0.0)]


def test_blocks_are_walked_one_after_another_and_remembered_before_the_next() -> None:
    told: list[str] = []

    def walk(frames: int) -> Tensor:
        told.append(f"walk {frames}")
        return torch.full((1, frames, 1), float(len(told)))

    sample = by_blocks(5, 2, walk, lambda block: told.append(f"remember {block.shape[1]}"))
    assert told == ["walk 2", "remember 2", "walk 2", "remember 2", "walk 1"]
    assert sample.flatten().tolist() == [1.0, 1.0, 3.0, 3.0, 5.0]


def test_modes_come_back_after_a_failure() -> None:
    module = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    module[0].eval()
    with suppress(ValueError), evaluating({"m": module}):
        assert not any(each.training for each in module.modules())
        raise ValueError
    assert [each.training for each in module.modules()] == [True, False, True]
