"""MeanFlow on toy models and against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from distill_core.flow.arithmetic import shaped_like
from distill_core.flow.derivative import derivative_along
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.protocols import Ask, Condition, Prediction
from distill_core.testing.contracts import check_method, toy_batch, toy_draw, toy_roles
from distill_core.testing.toy import ToyAdapter
from distill_core.training.draws import KeyedDraw
from distill_method_meanflow.config import MeanFlowOptions
from distill_method_meanflow.losses import mean_velocity_target, mixed_velocity, weighed_loss
from distill_method_meanflow.method import MeanFlow
from distill_method_meanflow.plugin import distill_register_methods

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]


def spec() -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return registry.specs[0]


@pytest.mark.parametrize(
    "options",
    [
        MeanFlowOptions(tangent_warmup_steps=0),
        MeanFlowOptions(velocity="data", derivative="differences", interval_share=0.5, caption_dropout=0.0),
        MeanFlowOptions(
            velocity="mixed", guidance_mixture=0.3, caption_dropout=0.3, sampler="sde", timestep_shift=None
        ),
    ],
)
def test_the_student_alone_is_trained_on_every_step(options: MeanFlowOptions) -> None:
    assert set(check_method(spec(), options, steps=3).steps.values()) == {("student",)}


def sample(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1, 1), value, dtype=torch.float64)


def affine(x: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """u = .3 x + .2 t - .1 r."""
    return 0.3 * x + 0.2 * shaped_like(t, x) - 0.1 * shaped_like(r, x)


def answers(monkeypatch: pytest.MonkeyPatch, velocity: Velocity) -> None:
    """Let every toy answer by this mean velocity of (x, t, r), in σ, and by its exact derivative."""

    def predict(
        self: ToyAdapter, modules: Mapping[str, nn.Module], x: Tensor, t: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        at = (x, t / 1000.0, (t if ask.until is None else ask.until) / 1000.0)
        anchor = 0.0 * next(modules["denoiser"].parameters()).sum()
        derivative = None if ask.along is None else derivative_along(velocity, at, ask.along)
        return Prediction((velocity(*at) + anchor).float(), derivative=derivative)

    monkeypatch.setattr(ToyAdapter, "predict", predict)


def test_the_target_of_an_affine_velocity_by_hand() -> None:
    """x = 2, t = .8, r = .3, v = -1: u = .73, du/dt = .3 (-1) + .2 = -.1, target -1 + .5 · .1 = -.95, loss 1.68² = 2.8224."""
    t, r = torch.tensor([0.8], dtype=torch.float64), torch.tensor([0.3], dtype=torch.float64)
    u, v = affine(sample(2.0), t, r), sample(-1.0)
    assert u.item() == pytest.approx(0.73)
    derivative = torch.func.jvp(affine, (sample(2.0), t, r), (v, torch.ones_like(t), torch.zeros_like(r)))[1]
    assert derivative.item() == pytest.approx(-0.1)
    target = mean_velocity_target(v, derivative, t, r, 1.0)
    assert target.item() == pytest.approx(-0.95)
    assert weighed_loss(u, target, 0.0, 1e-5).item() == pytest.approx(2.8224)
    assert weighed_loss(u, target, 1.0, 1.0).item() == pytest.approx(2.8224 / 3.8224)


def test_at_one_time_the_target_is_the_velocity_and_a_warmup_begins_there() -> None:
    t, r = torch.tensor([0.8], dtype=torch.float64), torch.tensor([0.3], dtype=torch.float64)
    assert mean_velocity_target(sample(-1.0), sample(7.0), t, t, 1.0).item() == -1.0
    assert mean_velocity_target(sample(-1.0), sample(7.0), t, r, 0.0).item() == -1.0
    assert [MeanFlowOptions(tangent_warmup_steps=10).warmup(step) for step in (1, 5, 20)] == [0.1, 0.5, 1.0]


@pytest.mark.parametrize("derivative", ["jvp", "differences"])
def test_the_exact_mean_velocity_of_a_point_has_no_loss(derivative: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All data are one point c: v = ε - c = (x - c) / t on every path, so u = (x - c) / t, and du/dt = v / t - (x - c) / t² = 0."""
    answers(monkeypatch, lambda x, t, r: (x - 2.0) / shaped_like(t, x))
    options = MeanFlowOptions.model_validate(
        {
            "velocity": "data",
            "derivative": derivative,
            "tangent_warmup_steps": 0,
            "weight_power": 0.0,
            "caption_dropout": 0,
        }
    )
    batch = toy_batch()
    batch.latents.fill_(2.0)
    (loss,) = MeanFlow(toy_roles(spec(), options), options).losses(batch, toy_draw(1))
    assert loss.value.item() == pytest.approx(0.0, abs=1e-4)


def test_a_whole_step_by_hand_and_differences_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, affine)
    found = []
    for derivative in ("jvp", "differences"):
        options = MeanFlowOptions.model_validate(
            {
                "velocity": "data",
                "derivative": derivative,
                "tangent_warmup_steps": 0,
                "weight_power": 0.0,
                "caption_dropout": 0,
            }
        )
        batch, draw, roles = toy_batch(), toy_draw(1), toy_roles(spec(), options)
        method = MeanFlow(roles, options)
        (loss,) = method.losses(batch, draw)
        found.append(loss.value.item())
    t_B, r_B = (each / 1000.0 for each in method.times(batch, draw))
    noise = draw.normal_like("noise", batch.latents)
    t, r = (each.float().view(-1, 1, 1, 1, 1) for each in (t_B, r_B))
    x, v = (1 - t) * batch.latents + t * noise, noise - batch.latents
    expected = (((0.3 * x + 0.2 * t - 0.1 * r) - (v - (t - r) * (0.3 * v + 0.2))) ** 2).mean().item()
    assert found == pytest.approx([expected, expected], rel=1e-3)


def test_times_are_ordered_and_equal_where_no_interval_is_drawn() -> None:
    options = MeanFlowOptions(velocity="data", interval_share=0.25, caption_dropout=0.0)
    method = MeanFlow(toy_roles(spec(), options), options)
    pairs = [method.times(toy_batch(8), toy_draw(step, 8)) for step in range(1, 101)]
    t_B, r_B = (torch.cat(each) for each in zip(*pairs, strict=True))
    assert bool((r_B <= t_B).all())
    assert (r_B < t_B).double().mean().item() == pytest.approx(0.25, abs=0.05)


def test_guidance_is_the_teachers_and_captions_that_are_dropped_have_none() -> None:
    options = MeanFlowOptions(caption_dropout=0.5, guidance_scale=3.0)
    roles, batch = toy_roles(spec(), options), toy_batch()
    method, teacher = MeanFlow(roles, options), roles["teacher"]
    t_B, dropped_B = torch.full((3,), 600.0, dtype=torch.float64), torch.tensor([True, False, False])
    x, condition = batch.latents, batch.condition_of(teacher)
    found = method._velocity(x, x, t_B, dropped_B, condition, batch)
    cond, uncond = (teacher.predict_velocity(x, t_B, each) for each in (condition, teacher.unconditional(condition)))
    torch.testing.assert_close(found[1:], (uncond + 3.0 * (cond - uncond))[1:])
    torch.testing.assert_close(found[0], uncond[0])  # the toy's empty caption is its negative one


def test_mixed_guidance_by_hand() -> None:
    assert mixed_velocity(sample(1.0), sample(2.0), sample(5.0), 2.0, 0.5).item() == pytest.approx(
        2.0 + 1.0 - 1.5 * 5.0
    )


def test_the_student_is_sampled_by_jumps() -> None:
    request = MeanFlow(toy_roles(spec()), MeanFlowOptions(denoising_steps=(1000, 500, 0))).validation(1)
    assert (request.sampler, request.timesteps, request.until, request.guidance_scale) == (
        "ode",
        (1000.0, 500.0),
        True,
        1.0,
    )


def test_a_role_is_asked_for_no_more_than_its_options_need() -> None:
    plain = MeanFlowOptions(velocity="data", derivative="differences", caption_dropout=0.0)
    needs = spec().needs(spec().demands(plain))
    assert (set(needs), needs["student"].operations) == ({"student"}, {"predict", "flow_shift", "until"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"guidance_mixture": 0.5}, "has no effect on another"),
        ({"velocity": "mixed", "caption_dropout": 0.0}, "which it never learns at caption_dropout: 0"),
        ({"denoising_steps": (0.5, 0.2)}, "did you mean × 1000"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MeanFlowOptions.model_validate(given)


def test_draws_are_of_the_row_alone() -> None:
    options = MeanFlowOptions(velocity="data", caption_dropout=0.0)
    method, device = MeanFlow(toy_roles(spec(), options), options), torch.device("cpu")
    whole, alone = (method.times(toy_batch(len(rows)), KeyedDraw(0, 1, 0, rows, device)) for rows in ((0, 1, 2), (2,)))
    assert (whole[0][2], whole[1][2]) == (alone[0][0], alone[1][0])
