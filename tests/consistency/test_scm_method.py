"""Consistency in continuous time: its tangent by hand, and on toy models."""

from __future__ import annotations

import pytest
import torch

from distill_core import flow
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.testing.contracts import check_method, toy_batch, toy_draw, toy_roles
from distill_method_consistency.config import ScmOptions
from distill_method_consistency.continuous import Scm
from distill_method_consistency.plugin import distill_register_methods
from distill_method_consistency.tangent import continuous_loss, normalised, tangent


def spec() -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return next(each for each in registry.specs if each.name == "scm")


@pytest.mark.parametrize(
    "options",
    [
        ScmOptions(tangent_warmup_steps=4),
        ScmOptions(pair="data", learn_variance=False, tangent_warmup_steps=0),
        ScmOptions(derivative="differences", sigma_data=0.5, tangent_warmup_steps=0),
    ],
)
def test_the_student_and_its_variance_are_trained_on_every_step(options: ScmOptions) -> None:
    due = ("student", "logvar") if options.learn_variance else ("student",)
    assert set(check_method(spec(), options, steps=3).steps.values()) == {due}


def sample(value: float) -> torch.Tensor:
    return torch.full((1, 1, 1, 1, 1), value, dtype=torch.float64)


def test_without_its_derivative_the_tangent_is_regression_onto_the_flow() -> None:
    state = flow.TrigState.of(sample(2.0), sample(-1.5), torch.tensor([0.6], dtype=torch.float64), 0.5)
    cos = torch.tensor(0.6, dtype=torch.float64).cos()
    found = tangent(state, sample(0.3), sample(0.8), sample(7.0), 0.0)
    assert found.item() == pytest.approx((-(cos**2) * (0.5 * 0.3 - 0.8)).item())


def test_the_tangent_is_cosine_times_the_derivative_of_the_prediction_along_the_flow() -> None:
    """f = cos x̂ - sin σ_d F(x̂, t̂), for F = a x̂ + b t̂ by hand: df/dt̂ = -sin x̂ + cos ẋ - cos σ_d F - sin σ_d (a ẋ + b)."""
    a, b, slope, angle, sigma_data = 0.3, -0.7, 0.9, 0.6, 0.5
    at = torch.tensor([angle], dtype=torch.float64)
    state = flow.TrigState(at, sample(1.7), sigma_data)
    held = a * 1.7 + b * angle
    cos, sin = at.cos().item(), at.sin().item()
    exact = -sin * 1.7 + cos * slope - cos * sigma_data * held - sin * sigma_data * (a * slope + b)
    along = cos * sin * (a * slope + b)
    found = tangent(state, sample(held), sample(slope), sample(along), 1.0)
    assert found.item() == pytest.approx(cos * exact)


def test_normalisation_is_of_each_sample_whatever_its_size() -> None:
    g = torch.ones(2, 1, 1, 2, 2, dtype=torch.float64)
    g[1] *= 3.0
    assert normalised(g, 0.1)[:, 0, 0, 0, 0].tolist() == pytest.approx([1.0 / 1.1, 3.0 / 3.1])


def test_the_loss_is_weighed_by_the_learnt_variance() -> None:
    function = torch.zeros(1, 1, 1, 1, 2, dtype=torch.float64, requires_grad=True)
    logvar = torch.tensor([0.5], dtype=torch.float64)
    loss = continuous_loss(function, torch.tensor([3.0, 4.0]).double().view(1, 1, 1, 1, 2), logvar)
    assert loss.item() == pytest.approx(12.5 * torch.exp(-logvar).item() + 0.5)
    loss.backward()
    assert function.grad is not None
    # 2 (F - aim) e^{-logvar} / D = -g e^{-logvar}
    assert function.grad.flatten().tolist() == pytest.approx([-3.0 * 0.60653, -4.0 * 0.60653], rel=1e-4)


def test_exact_derivatives_and_differences_train_alike() -> None:
    values = []
    for derivative in ("jvp", "differences"):
        options = ScmOptions.model_validate({"pair": "data", "derivative": derivative, "tangent_warmup_steps": 0})
        (loss,) = Scm(toy_roles(spec(), options), options).losses(toy_batch(), toy_draw(1))
        values.append((loss.value.item(), loss.metrics["tangent"].item()))
    assert values[0] == pytest.approx(values[1], rel=2e-3)


def test_the_slope_of_clips_is_the_velocity_of_their_own_path_and_that_of_a_teacher_is_its_guided_function() -> None:
    batch, noise = toy_batch(), toy_draw(1).normal_like("n", toy_batch().latents)
    angle = torch.tensor([0.3, 0.8, 1.4], dtype=torch.float64)
    state = flow.TrigState.of(batch.latents, noise, angle, 0.5)
    own = Scm(toy_roles(spec(), ScmOptions(pair="data", sigma_data=0.5)), ScmOptions(pair="data", sigma_data=0.5))
    true_velocity = noise - batch.latents
    torch.testing.assert_close(own._slope(state, batch, noise), 0.5 * state.function_of(true_velocity))
    options = ScmOptions(sigma_data=0.5, guidance_scale=1.0)
    roles = toy_roles(spec(), options)
    teacher = roles["teacher"].predict_velocity(state.noisy, state.timestep, batch.condition_of(roles["teacher"]))
    torch.testing.assert_close(Scm(roles, options)._slope(state, batch, noise), 0.5 * state.function_of(teacher))


def test_angles_are_drawn_around_their_mean_and_the_warmup_ends_at_one() -> None:
    options = ScmOptions(learn_variance=False, tangent_warmup_steps=100)
    method = Scm(toy_roles(spec(), options), options)
    drawn = torch.cat([method._angle(toy_draw(step, 8)) for step in range(1, 101)]).tan().log()
    assert (drawn.mean().item(), drawn.std().item()) == (pytest.approx(-1.0, abs=0.2), pytest.approx(1.4, abs=0.2))
    assert [options.warmup(step) for step in (1, 50, 100, 500)] == [0.01, 0.5, 1.0, 1.0]
