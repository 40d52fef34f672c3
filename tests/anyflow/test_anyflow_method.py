"""AnyFlow's two stages on toy models and against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill_core.flow.arithmetic import shaped_like
from distill_core.flow.derivative import derivative_along
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.protocols import Ask, Condition, Prediction
from distill_core.testing.contracts import check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_core.testing.toy import ToyAdapter
from distill_method_anyflow.config import AnyFlowOptions, OnPolicyOptions
from distill_method_anyflow.flow_map import FlowMap
from distill_method_anyflow.losses import map_loss, map_target, noise_weight
from distill_method_anyflow.on_policy import OnPolicy
from distill_method_anyflow.plugin import distill_register_methods

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
PLAIN = {"map_guidance_scale": 1.0, "caption_dropout": 0.0}


def spec(name: str) -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return next(each for each in registry.specs if each.name == name)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    "options",
    [
        AnyFlowOptions(),
        AnyFlowOptions(velocity="teacher", derivative="jvp", diffusion_share=0.0, consistency_share=0.5),
        AnyFlowOptions(map_guidance_scale=1.0, caption_dropout=0.0, diffusion_share=1.0, consistency_share=0.0),
    ],
)
def test_the_first_stage_trains_the_student_on_every_step(options: AnyFlowOptions) -> None:
    assert set(check_method(spec("anyflow"), options, steps=3).steps.values()) == {("student",)}


@pytest.mark.parametrize(
    "given",
    [{}, {"generator_update_interval": 2, "critic_rests": True, "map_weight": 0.0, "rollout_grids": (2,)}],
)
def test_the_second_stage_trains_each_role_by_its_own_losses(given: dict[str, object]) -> None:
    options = OnPolicyOptions.model_validate({"critic_reuses_student_sample": not given, **given})
    stepped = check_method(spec("anyflow-on-policy"), options, steps=4).steps
    assert stepped[2] == (("student",) if given else ("student", "critic"))
    assert stepped[1] == (("critic",) if given else ("student", "critic"))


def answers(monkeypatch: pytest.MonkeyPatch, velocity: Velocity) -> list[tuple[float, float]]:
    """Let every toy answer by this mean velocity of (x, t, r), in σ; the times that were asked for are told."""
    asked: list[tuple[float, float]] = []

    def predict(
        self: ToyAdapter, modules: Mapping[str, nn.Module], x: Tensor, t: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        until = torch.zeros_like(t) if ask.until is None else ask.until
        asked.append((t[0].item(), until[0].item()))
        at = (x, t / 1000.0, until / 1000.0)
        anchor = 0.0 * next(modules["denoiser"].parameters()).sum()
        derivative = None if ask.along is None else derivative_along(velocity, at, ask.along)
        return Prediction((velocity(*at) + anchor).float(), derivative=derivative)

    monkeypatch.setattr(ToyAdapter, "predict", predict)
    return asked


def affine(x: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """F = .3 x + .2 t - .1 r, whose derivative along (v, 1) is .3 v + .2."""
    return 0.3 * x + 0.2 * shaped_like(t, x) - 0.1 * shaped_like(r, x)


@pytest.mark.parametrize("derivative", ["differences", "jvp"])
def test_the_derivative_of_an_affine_map_is_exact(derivative: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, affine)
    options = AnyFlowOptions.model_validate({"derivative": derivative, "interval_weight": 1.0, **PLAIN})
    batch, draw = toy_batch(), toy_draw(3)
    method = FlowMap(toy_roles(spec("anyflow"), options), options)
    found = method.map_loss(batch, draw).item()
    t_B, r_B = (each / 1000.0 for each in method.times(batch, draw))
    noise = draw.normal_like("noise", batch.latents)
    t, r = (each.float().view(-1, 1, 1, 1, 1) for each in (t_B, r_B))
    x, v = (1 - t) * batch.latents + t * noise, noise - batch.latents
    error = (((0.3 * x + 0.2 * t - 0.1 * r) - (v - (t - r) * (0.3 * v + 0.2))) ** 2).flatten(1).mean(1)
    evened = torch.where(r_B < t_B, error / (error + 1e-5), error)
    assert found == pytest.approx((noise_weight(t_B) * evened).mean().item(), rel=1e-3)


def test_at_one_time_the_target_is_the_clips_velocity() -> None:
    v, derivative = torch.full((1, 1, 1, 1, 1), -1.0), torch.full((1, 1, 1, 1, 1), 9.0)
    assert map_target(v, derivative, numbers(0.8), numbers(0.8)).item() == -1.0
    assert map_target(v, derivative, numbers(0.8), numbers(0.3)).item() == pytest.approx(-1.0 - 0.5 * 9.0)


def test_weights_over_noise_by_hand() -> None:
    assert noise_weight(numbers(0.1, 0.5, 2 / 3, 0.9)).tolist() == pytest.approx(
        [0.0949, 0.3536, 0.3849, 0.2846], abs=1e-4
    )
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert t[noise_weight(t).argmax()].item() == pytest.approx(2 / 3, abs=1e-3)


def test_samples_with_an_interval_are_evened_and_the_others_are_not() -> None:
    zero, two = torch.zeros(2, 1, 1, 1, 1), torch.full((2, 1, 1, 1, 1), 2.0)
    loss = map_loss(zero, two, numbers(0.5, 0.5), torch.tensor([True, False]), 0.5, 1.0)
    assert loss.item() == pytest.approx(0.353553 * (0.5 * 4.0 / 5.0 + 4.0) / 2, rel=1e-5)


def test_a_batch_of_one_has_every_kind_of_sample_in_turn() -> None:
    """Elsewhere the shares are counted in a batch, and round to none of one."""
    options = AnyFlowOptions.model_validate(PLAIN)
    method = FlowMap(toy_roles(spec("anyflow"), options), options)
    kinds = []
    for step in range(1, 401):
        t, r = (each.item() for each in method.times(toy_batch(1), toy_draw(step, 1)))
        kinds.append("diffusion" if r == t else "consistency" if r == 0.0 else "random")
        assert r <= t
    shares = [kinds.count(kind) / len(kinds) for kind in ("diffusion", "consistency", "random")]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.06)


def test_guidance_is_away_from_the_students_own_prediction_without_a_caption() -> None:
    options = AnyFlowOptions(map_guidance_scale=3.0)
    roles, batch = toy_roles(spec("anyflow"), options), toy_batch()
    method, student = FlowMap(roles, options), roles["student"]
    t_B, dropped_B = numbers(600, 600, 600), torch.tensor([True, False, False])
    v = torch.ones_like(batch.latents)
    found = method._velocity(batch.latents, v, t_B, dropped_B, batch)
    empty = student.drop_condition(batch.condition_of(student), torch.ones(3, dtype=torch.bool))
    uncond = student.predict_velocity(batch.latents, t_B, empty, Ask(until=t_B)).detach()
    torch.testing.assert_close(found[1:], (uncond + 3.0 * (v - uncond))[1:])
    assert torch.equal(found[0], v[0])


def test_three_jumps_of_an_exact_map_land_on_the_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """All data are one point c: F = (x - c) / t, whatever r, and any jumps down to 0 end at c."""
    asked = answers(monkeypatch, lambda x, t, r: (x - 2.0) / shaped_like(t, x))
    options = OnPolicyOptions.model_validate({"rollout_grids": (4,), **PLAIN})
    method = OnPolicy(toy_roles(spec("anyflow-on-policy"), options), options)
    lengths = set()
    for step in range(1, 21):
        asked.clear()
        sample = method.rollout(toy_batch(), toy_draw(step))
        torch.testing.assert_close(sample.x_BTCHW, torch.full_like(sample.x_BTCHW, 2.0), rtol=1e-4, atol=1e-4)
        assert asked[0][0] == 1000.0
        assert asked[-1][1] == 0.0
        assert all(here[1] == there[0] for here, there in pairwise(asked))
        assert any(t - r == pytest.approx(250.0) for t, r in asked)
        lengths.add(len(asked))
    assert lengths == {2, 3}


def test_the_matching_loss_reaches_the_student_through_every_jump() -> None:
    options = OnPolicyOptions.model_validate({"map_weight": 0.0, **PLAIN})
    roles = toy_roles(spec("anyflow-on-policy"), options)
    matching = next(OnPolicy(roles, options).losses(toy_batch(latents=False), toy_draw(1)))
    matching.value.backward()
    assert set(gradients(roles)) == {"student"}
    method = OnPolicy(roles, options)
    x = torch.randn(1, *toy_batch().latent_shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    method.jumps(x, toy_batch(1), (1000.0, 500.0, 250.0, 0.0)).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any())


def test_without_the_maps_loss_no_latents_are_asked_for() -> None:
    assert spec("anyflow-on-policy").demands(OnPolicyOptions(map_weight=0.0)).latents is False
    assert spec("anyflow-on-policy").demands(OnPolicyOptions()).latents is True


def test_the_student_is_sampled_by_so_many_jumps_of_the_familys_schedule() -> None:
    request = FlowMap(toy_roles(spec("anyflow")), AnyFlowOptions(sampling_steps=8)).validation(1)
    assert (request.sampler, request.steps, request.until, request.guidance_scale) == ("ode", 8, True, 1.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"diffusion_share": 0.8, "consistency_share": 0.3}, "parts of one whole"),
        ({"diffusion_share": 0.0}, "nothing teaches the velocity of clips"),
        ({"caption_dropout": 0.0}, "needs samples that have none"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AnyFlowOptions.model_validate(given)


def test_guidance_of_scores_and_of_the_map_are_two_things() -> None:
    options = OnPolicyOptions(guidance_scale=4.0, map_guidance_scale=3.0, normalizer="none")
    assert (options.matching.scale, options.matching.normalizer) == (4.0, "none")
