"""Rectified flow against numbers worked out by hand, published tables, and diffusers' own scheduler."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from distill_core import flow
from distill_core.errors import DistillError

F64 = torch.float64


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


def test_add_noise_is_a_line_from_data_to_noise() -> None:
    clean, noise = t(2.0, 2.0, 2.0).view(3, 1), t(-4.0, -4.0, -4.0).view(3, 1)
    noisy = flow.add_noise(clean, noise, t(0.0, 250.0, 1000.0))
    assert noisy.flatten().tolist() == [2.0, 0.75 * 2.0 + 0.25 * -4.0, -4.0]


def test_the_true_velocity_gives_back_the_data() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 5, 3, 2, 4, 4, generator=generator, dtype=F64)
    timestep = t(20.0, 250.0, 521.7, 833.3, 1000.0)
    noisy = flow.add_noise(clean, noise, timestep)
    torch.testing.assert_close(flow.x0_of(noisy, noise - clean, timestep), clean, rtol=0, atol=1e-14)


def test_euler_steps_with_the_true_velocity_stay_on_the_line() -> None:
    clean, noise = t(3.0).view(1, 1), t(-1.0).view(1, 1)
    noisy = flow.add_noise(clean, noise, t(900.0))
    moved = flow.euler_step(noisy, noise - clean, t(900.0), t(400.0))
    torch.testing.assert_close(moved, flow.add_noise(clean, noise, t(400.0)), rtol=0, atol=1e-14)


def test_sigma_is_divided_in_float64_and_used_in_float32() -> None:
    sigma = flow.sigma_of(torch.tensor([333.0], dtype=torch.float32), torch.zeros(1, 2, 2, dtype=torch.bfloat16))
    assert sigma.dtype == torch.float32
    assert sigma.shape == (1, 1, 1)
    assert sigma.item() == torch.tensor(0.333, dtype=torch.float32).item()


# Reference values of the published implementations: upstream's warped denoising lists for shift 3, 5 and 8.
@pytest.mark.parametrize(
    ("shift", "pairs"),
    [
        (1.0, {1000: 1000.0, 757: 757.0, 0: 0.0}),
        (
            3.0,
            {
                1000: 1000.0,
                757: 903.34,
                522: 766.15,
                750: 900.0,
                500: 750.0,
                250: 500.0,
                100: 250.0,
                900: 964.286,
                0: 0.0,
            },
        ),
        (5.0, {1000: 1000.0, 750: 937.5, 500: 833.333, 250: 625.0}),
        (8.0, {750: 960.0, 500: 888.889, 250: 727.273, 757: 961.42, 522: 897.29, 100: 470.588}),
    ],
)
def test_shifted_timesteps_are_the_published_ones(shift: float, pairs: dict[int, float]) -> None:
    shifted = flow.shift_timestep(t(*pairs), shift)
    assert shifted.dtype == F64
    assert shifted.tolist() == pytest.approx(list(pairs.values()), abs=6e-3)


@pytest.mark.parametrize(("shift", "smallest"), [(3.0, 2.994), (5.0, 4.980), (8.0, 7.944)])
def test_the_shifted_table_is_that_of_diffusers(shift: float, smallest: float) -> None:
    ours = flow.shift_timestep(torch.arange(1000, 0, -1), shift)
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift).timesteps
    torch.testing.assert_close(ours.float(), theirs, rtol=0, atol=1e-3)
    assert ours[-1].item() == pytest.approx(smallest, abs=5e-4)


def test_the_uniform_grid_starts_at_noise_and_stops_before_data() -> None:
    assert flow.shifted_uniform_grid(4, 1.0) == (1000.0, 750.0, 500.0, 250.0)
    assert flow.shifted_uniform_grid(4, 5.0) == pytest.approx((1000.0, 937.5, 833.3333, 625.0), abs=1e-3)


def test_a_closing_zero_ends_a_grid_without_an_evaluation() -> None:
    assert flow.denoising_grid([1000, 500, 0]) == (1000.0, 500.0)
    assert flow.denoising_grid((999.0,)) == (999.0,)


@pytest.mark.parametrize("timesteps", [[], [0], [500, 1000], [500, 500], [1001, 500], [500, -1], [500, 0, 0]])
def test_a_list_that_does_not_fall_is_refused(timesteps: list[float]) -> None:
    with pytest.raises(DistillError, match="must fall strictly"):
        flow.denoising_grid(timesteps)
