"""rCM on toy models and against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from distill_core import flow
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.testing.contracts import check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_method_rcm.config import RcmOptions
from distill_method_rcm.method import Rcm
from distill_method_rcm.plugin import distill_register_methods
from distill_method_rcm.tangent import consistency_loss, normalised, tangent


def spec() -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return registry.specs[0]


def options(**given: object) -> RcmOptions:
    return RcmOptions.model_validate({"consistency_steps": 2, "generator_update_interval": 2, **given})


@pytest.mark.parametrize(
    "given",
    [{}, {"derivative": "differences", "critic_rests": False, "generator_update_interval": 1, "attn_kind": "vsa"}],
)
def test_each_loss_trains_its_own_role_by_turns(given: dict[str, object]) -> None:
    stepped = check_method(spec(), options(**given), steps=6).steps
    assert stepped[1] == stepped[2] == ("student",)
    assert stepped[4] == (("student", "critic") if given else ("student",))
    assert stepped[3] == (("student", "critic") if given else ("critic",))


def sample(value: float, batch: int = 1) -> Tensor:
    return torch.full((batch, 1, 1, 1, 1), value, dtype=torch.float64)


@pytest.mark.parametrize("warmup", [0.0, 0.4, 1.0])
def test_the_tangent_by_hand(warmup: float) -> None:
    """The first factor is -cos² at w = 1 and -cos at w = 0; the derivative is whole at any."""
    angle = 0.6
    state = flow.TrigState(torch.tensor([angle], dtype=torch.float64), sample(1.7))
    c, s = math.cos(angle), math.sin(angle)
    expected = -c * math.sqrt(1 - (warmup * s) ** 2) * (0.3 - 0.8) - (warmup * c * s * 1.7 + 0.25)
    found = tangent(state, sample(0.3), sample(0.8), sample(0.25), warmup)
    assert found.item() == pytest.approx(expected)
    if warmup in (0.0, 1.0):
        first = {0.0: -c, 1.0: -(c**2)}[warmup]
        assert found.item() == pytest.approx(first * (0.3 - 0.8) - (warmup * c * s * 1.7 + 0.25))


def test_a_sample_that_is_not_finite_has_no_loss_and_the_others_theirs() -> None:
    raw = torch.cat([sample(float("nan")), sample(3.0)])
    found = normalised(raw, 1.0)
    assert found.flatten().tolist() == [0.0, 0.75]
    function = torch.zeros(2, 1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    consistency_loss(function, found).backward()
    assert function.grad is not None
    assert function.grad.flatten().tolist() == pytest.approx([0.0, -0.75])


def test_the_preconditioning_is_trigflows() -> None:
    """c_in = 1 / (cos + sin), c_out = -sin / (cos + sin), model time 1000 sin / (cos + sin); F = cos ε - sin x0."""
    angle = torch.tensor([0.9], dtype=torch.float64)
    c, s = angle.cos().item(), angle.sin().item()
    state = flow.TrigState.of(sample(2.0), sample(-1.5), angle)
    assert state.timestep.item() == pytest.approx(1000.0 * s / (c + s))
    assert state.noisy.item() == pytest.approx((2.0 * c - 1.5 * s) / (c + s))
    v = 0.7  # x̂0 = c_skip x̂ + c_out v
    x0 = state.x_BTCHW.item() / (c + s) - s / (c + s) * v
    assert state.function_of(sample(v)).item() == pytest.approx((c * state.x_BTCHW.item() - x0) / s)
    assert state.function_of(sample(-3.5)).item() == pytest.approx(c * -1.5 - s * 2.0)


def test_who_steps_and_how_many_steps_the_student_takes() -> None:
    """Elsewhere n = iteration mod 4 + 1, and the student's iterations are every fifth: 5, 10, 15, 20 → 2, 3, 4, 1."""
    given = RcmOptions(consistency_steps=4)
    table = [(step, given.roles_to_step(step)) for step in (1, 4, 5, 6, 9, 10)]
    assert table == [
        (1, ("student",)), (4, ("student",)), (5, ("student",)), (6, ("critic",)), (9, ("critic",)), (10, ("student",))
    ]  # fmt: skip
    assert [given.rollout_length(step, "student") for step in (5, 10, 15, 20)] == [2, 3, 4, 1]
    assert [given.rollout_length(step, "critic") for step in (6, 7, 8, 9, 11)] == [2, 3, 4, 1, 2]


def test_a_critic_that_rests_every_second_step_sees_samples_of_every_length() -> None:
    given = RcmOptions(consistency_steps=0, dmd_denoising_steps=(1000.0, 500.0), generator_update_interval=2)
    critics = [step for step in range(1, 9) if given.roles_to_step(step) == ("critic",)]
    assert [given.rollout_length(step, "critic") for step in critics] == [2, 1, 2, 1]


def test_the_default_steps_are_trigflows_angles() -> None:
    angles = (1.5, 1.4, 1.0)
    expected = [1000.0 * math.sin(a) / (math.sin(a) + math.cos(a)) for a in angles]
    assert list(RcmOptions().steps[1:]) == pytest.approx(expected, abs=0.1)
    assert expected == pytest.approx([933.8, 852.9, 609.0], abs=0.1)


def test_consistency_comes_alone_and_matching_joins_after_its_steps() -> None:
    roles = toy_roles(spec(), options())
    method = Rcm(roles, options())
    names = {step: [loss.name for loss in method.losses(toy_batch(), toy_draw(step))] for step in (1, 3, 4)}
    assert names == {1: ["consistency_loss"], 3: ["critic_loss"], 4: ["consistency_loss", "matching_loss"]}


def test_matching_reaches_the_student_alone_and_only_by_its_last_step() -> None:
    roles = toy_roles(spec(), options())
    method = Rcm(roles, options())
    *_, matching = method.losses(toy_batch(), toy_draw(4))
    matching.value.backward()
    assert set(gradients(roles)) == {"student"}
    drawn = method.sample(toy_batch(), toy_draw(4), "student")
    assert drawn.next_B.tolist() == [method.steps[3]] * 3
    assert drawn.x_BTCHW.requires_grad


def test_weights_are_rcms_for_a_samples_size_or_the_runs_own() -> None:
    assert RcmOptions().weight_of((21, 16, 60, 104)) == pytest.approx(50 / math.sqrt(21 * 16 * 60 * 104))
    assert RcmOptions(consistency_weight=0.5).weight_of((1, 1, 1, 1)) == 0.5
    assert (RcmOptions().scale, RcmOptions(real_score_guidance_scale=2.0).scale) == (5.0, 3.0)


def test_differences_train_as_the_exact_derivative_does() -> None:
    values = []
    for derivative in ("jvp", "differences"):
        given = options(derivative=derivative)
        (loss,) = Rcm(toy_roles(spec(), given), given).losses(toy_batch(), toy_draw(2))
        values.append((loss.value.item(), loss.metrics["tangent"].item()))
    assert values[0] == pytest.approx(values[1], rel=2e-3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rollout": "data_latent"}, "samples that the student makes from noise"),
        ({"rollout_move": "ode"}, "noises it anew at each step"),
        ({"attn_kind": "vsa"}, "set derivative: differences"),
        ({"generator_update_interval": 1}, "leaves none"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RcmOptions.model_validate(given)
