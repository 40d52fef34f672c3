"""Trigonometric flow, derivatives by differences, guidance and paths: the arithmetic that methods share."""

from __future__ import annotations

import pytest
import torch

from distill_core import flow
from distill_core.errors import DistillError
from distill_core.flow.derivative import difference_along
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.protocols import Ask, Tangents
from distill_core.testing.contracts import toy_batch, toy_draw, toy_roles
from distill_core.training.roles import RoleHandle
from distill_method_kd.plugin import distill_register_methods


def role() -> RoleHandle:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return toy_roles(registry.specs[0])["student"]


def number(value: float) -> torch.Tensor:
    return torch.full((1, 1, 1, 1, 1), value, dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("sigma_data", [1.0, 0.5])
def test_both_flows_say_the_same_of_a_clip_and_a_noise(sigma: float, sigma_data: float) -> None:
    clean, noise = number(2.0), number(-1.5)
    angle = flow.angle_of(torch.tensor([1000.0 * sigma]), sigma_data)
    state = flow.TrigState.of(clean, noise, angle, sigma_data)
    assert state.timestep.item() == pytest.approx(1000.0 * sigma)
    torch.testing.assert_close(state.noisy.double(), (1 - sigma) * clean + sigma * noise, rtol=1e-6, atol=1e-6)
    expected = angle.cos() * noise - angle.sin() * clean / sigma_data
    torch.testing.assert_close(state.function_of(noise - clean), expected)


def test_trigflows_function_at_half_the_noise_by_hand() -> None:
    angle = flow.angle_of(torch.tensor([500.0]))
    assert angle.item() == pytest.approx(0.7854, abs=1e-4)
    assert flow.TrigState.of(number(2.0), number(-1.5), angle).function_of(number(-3.5)).item() == pytest.approx(
        -2.4749, abs=1e-4
    )


def test_its_derivative_is_that_of_the_network_carried_over() -> None:
    """v = a x_t + b σ: F along (ẋ, ṫ) by autograd through the whole change of variables."""
    a, b, sigma_data = 0.4, -0.9, 0.5
    dx, dangle = number(0.7), torch.tensor([0.3], dtype=torch.float64)

    def function(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        scale = angle.cos() + sigma_data * angle.sin()
        sigma, flow_x = angle.sin() * sigma_data / scale, x / scale
        x0 = flow_x - sigma * (a * flow_x + b * sigma)
        return (angle.cos() * x - x0) / (angle.sin() * sigma_data)

    x, angle = number(1.3), torch.tensor([0.6], dtype=torch.float64)
    _, exact = torch.func.jvp(function, (x, angle), (dx, dangle))
    state = flow.TrigState(angle, x, sigma_data)
    tangents = state.tangents(dx, dangle)
    sigma = state.timestep / 1000.0
    velocity = a * state.noisy.double() + b * sigma
    dvelocity = a * tangents.noisy.double() + b * tangents.sigma
    torch.testing.assert_close(state.derivative_of(velocity, dvelocity, dx, dangle), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("until", [False, True])
@pytest.mark.parametrize("timestep", [0.0, 400.0, 1000.0])
def test_differences_agree_with_the_exact_derivative_also_at_the_ends_of_time(timestep: float, until: bool) -> None:
    student, batch, draw = role(), toy_batch(), toy_draw(1)
    x, dx = draw.normal_like("x", batch.latents), draw.normal_like("dx", batch.latents)
    t = torch.full((3,), timestep, dtype=torch.float64)
    r = torch.full((3,), 0.4 * timestep, dtype=torch.float64) if until else None
    along = Tangents(dx, torch.ones_like(t), torch.zeros_like(t) if until else None)
    condition = batch.condition_of(student)
    exact = student.predict(x, t, condition, Ask(until=r, along=along)).derivative
    assert exact is not None
    near = difference_along(student, x, t, condition, Ask(until=r), along, 1e-2)
    torch.testing.assert_close(near, exact, rtol=5e-2, atol=5e-3)


def test_a_derivative_at_a_time_that_cannot_move_is_zero_rather_than_nan() -> None:
    student, batch = role(), toy_batch()
    t = torch.full((3,), 1000.0, dtype=torch.float64)
    along = Tangents(torch.ones_like(batch.latents), torch.ones_like(t), torch.zeros_like(t))
    found = difference_along(student, batch.latents, t, batch.condition_of(student), Ask(until=t), along, 1e-2)
    assert found.abs().max().item() == 0.0


def test_predict_along_by_differences_keeps_the_graph_of_the_velocity_alone() -> None:
    student, batch = role(), toy_batch()
    t = torch.full((3,), 500.0, dtype=torch.float64)
    ask = Ask(along=Tangents(torch.ones_like(batch.latents), torch.ones_like(t)))
    found = flow.predict_along(student, batch.latents, t, batch.condition_of(student), ask, 1e-3)
    assert found.derivative is not None
    assert found.velocity.requires_grad
    assert not found.derivative.requires_grad


def test_a_grid_is_put_through_further_timesteps_and_states_off_the_grid_are_refused() -> None:
    grid = flow.grid_through((1000.0, 750.0, 500.0 + 1e-9, 250.0), (500.0, 624.0))
    assert grid == (1000.0, 750.0, 624.0, 500.0, 250.0)
    noise = torch.ones(2, 1, 1, 1, 1)
    states = flow.flow_states(lambda x, _: torch.ones_like(x), noise, grid, (1000.0, 624.0))
    assert states[0].flatten().tolist() == pytest.approx([1.0, 0.624, 0.0])
    with pytest.raises(DistillError, match="does not pass through 999"):
        flow.flow_states(lambda x, _: x, noise, grid, (999.0,))
