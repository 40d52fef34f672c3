"""Consistency models and their second stage on toy models, and against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.testing.contracts import check_method, toy_batch, toy_draw, toy_roles
from distill_core.testing.toy import ToyAdapter
from distill_method_consistency.config import ConsistencyOptions, TcmOptions
from distill_method_consistency.consistency import make
from distill_method_consistency.curriculum import earlier_sigma, earlier_time
from distill_method_consistency.losses import distance, truncated_student_t, weights
from distill_method_consistency.pairs import make_pair
from distill_method_consistency.plugin import distill_register_methods
from distill_method_consistency.truncated import Tcm


def spec(name: str) -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return next(each for each in registry.specs if each.name == name)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    "options",
    [
        ConsistencyOptions(),
        ConsistencyOptions(pair="data", curve="edm", weighting="c_out", timestep_density="logit_normal", stage_steps=2),
        ConsistencyOptions(target="average", distance="squared", weighting="one", guidance_scale=1.0),
    ],
)
def test_the_student_alone_is_trained_on_every_step(options: ConsistencyOptions) -> None:
    assert set(check_method(spec("consistency"), options, steps=4).steps.values()) == {("student",)}


@pytest.mark.parametrize("options", [TcmOptions(), TcmOptions(pair="data", curve="edm")])
def test_the_second_stage_trains_the_student_alone(options: TcmOptions) -> None:
    assert set(check_method(spec("tcm"), options, steps=3).steps.values()) == {("student",)}


@pytest.mark.parametrize(("ratio", "r"), [(0.5, 4.998), (0.75, 7.499)])
def test_the_curve_of_edm_at_ten(ratio: float, r: float) -> None:
    assert earlier_time(numbers(10.0), ratio).item() == pytest.approx(r, abs=1e-3)


def test_the_curve_of_edm_on_flow_times_as_it_stands_elsewhere_is_denoising_at_first() -> None:
    """Why it is not applied to σ here: ρ = ½ gives r = 0 everywhere, ¾ above .51 alone."""
    t = torch.linspace(0.01, 1.0, 100, dtype=torch.float64)
    assert earlier_time(t, 0.5).max().item() == 0.0
    assert t[earlier_time(t, 0.75) > 0].min().item() == pytest.approx(0.51, abs=0.011)
    assert earlier_time(numbers(1.0), 0.75).item() == pytest.approx(0.212, abs=1e-3)
    assert earlier_time(numbers(0.5, 1.0), 0.875).tolist() == pytest.approx([0.249, 0.606], abs=1e-3)


@pytest.mark.parametrize("curve", ["linear", "edm"])
@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.999])
def test_every_curve_leaves_room_between_two_states_also_at_pure_noise(curve: str, ratio: float) -> None:
    sigma = torch.linspace(0.001, 1.0, 1000, dtype=torch.float64)
    earlier = earlier_sigma(sigma, ratio, "edm" if curve == "edm" else "linear")
    assert bool((earlier < sigma).all() and (earlier >= 0).all())


def test_the_linear_curve_is_a_ratio_and_edms_one_is_of_noise_to_signal() -> None:
    assert earlier_sigma(numbers(0.8), 0.75, "linear").item() == pytest.approx(0.6)
    # σ = 10/11 is EDM's 10, which ρ = ½ takes to 4.998; σ = 4.998 / 5.998
    assert earlier_sigma(numbers(10 / 11), 0.5, "edm").item() == pytest.approx(4.998 / 5.998, abs=1e-4)


def test_the_ratio_grows_by_stages_up_to_its_bound() -> None:
    options = ConsistencyOptions(stage_steps=10, max_ratio=0.9)
    assert [options.ratio(step) for step in (1, 10, 11, 21, 31, 1000)] == [0.5, 0.5, 0.75, 0.875, 0.9, 0.9]
    assert ConsistencyOptions(ratio_base=4.0).ratio(1) == 0.75


def test_distances_and_weights_by_hand() -> None:
    x, y = torch.tensor([[3.0, 4.0]]).view(1, 1, 1, 1, 2), torch.zeros(1, 1, 1, 1, 2)
    assert distance(x, y, "squared", 0.1).item() == pytest.approx(12.5)
    assert distance(x, y, "pseudo_huber", 0.1).item() == pytest.approx(math.sqrt(12.51) - 0.1)
    assert weights(numbers(0.8), numbers(0.6), "inverse_step").item() == pytest.approx(5.0)
    assert weights(numbers(0.8), numbers(0.6), "c_out").item() == 0.8


def test_a_constant_prediction_is_consistent() -> None:
    """x0 = ε = c everywhere: x_t = c at every t, v = 0 predicts x̂0 = c, and no pair is apart."""
    roles = toy_roles(spec("consistency"), ConsistencyOptions(pair="data"))
    with torch.no_grad():
        for parameter in roles["student"].container.parameters():
            parameter.zero_()
    batch = toy_batch()
    batch.latents.fill_(2.0)
    pair = make_pair(
        roles["student"],
        None,
        batch,
        torch.full_like(batch.latents, 2.0),
        numbers(900, 500, 10),
        numbers(450, 250, 5),
        1.0,
    )
    assert pair.later_BTCHW.unique().tolist() == [2.0]
    method = make(roles, ConsistencyOptions(pair="data"))
    x0 = roles["student"].predict_x0(pair.later_BTCHW, pair.t_B, batch.condition_of(roles["student"]))
    assert distance(x0, method.target(pair, batch), "pseudo_huber", 5e-4).max().item() == pytest.approx(0.0, abs=1e-7)


def test_where_the_earlier_state_is_the_data_the_loss_is_denoising_over_the_timestep() -> None:
    """EDM's curve on its own times gives r = 0 at first; here that is ρ t with ρ near 0: x̂0(x_r, r) is x_r, which is the data."""
    options = ConsistencyOptions(pair="data", ratio_base=1.0 + 1e-12, distance="squared")
    roles, batch, draw = toy_roles(spec("consistency"), options), toy_batch(), toy_draw(1)
    (loss,) = make(roles, options).losses(batch, draw)
    t_B = (1000.0 * draw.uniform("timestep")).clamp(min=1.0)
    noisy = roles["student"].add_noise(batch.latents, draw.normal_like("noise", batch.latents), t_B)
    x0 = roles["student"].predict_x0(noisy, t_B, batch.condition_of(roles["student"]))
    expected = (((x0 - batch.latents) ** 2).flatten(1).mean(1) * 1000.0 / t_B).mean()
    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_teachers_pair_is_one_guided_euler_step_apart() -> None:
    roles, batch, draw = toy_roles(spec("consistency")), toy_batch(), toy_draw(1)
    t_B, r_B = numbers(800, 600, 400), numbers(400, 300, 200)
    pair = make_pair(roles["student"], roles["teacher"], batch, draw.normal_like("n", batch.latents), t_B, r_B, 3.0)
    teacher, condition = roles["teacher"], batch.condition_of(roles["teacher"])
    cond, uncond = (
        teacher.predict_velocity(pair.later_BTCHW, t_B, each) for each in (condition, teacher.unconditional(condition))
    )
    step = numbers(0.4, 0.3, 0.2).float().view(-1, 1, 1, 1, 1) * (uncond + 3.0 * (cond - uncond))
    torch.testing.assert_close(pair.earlier_BTCHW, pair.later_BTCHW - step)


def test_an_average_is_the_target_and_keeps_its_share() -> None:
    options = ConsistencyOptions(target="average", target_decay=0.9)
    roles = toy_roles(spec("consistency"), options)
    method, batch = make(roles, options), toy_batch()
    pair = make_pair(
        roles["student"], None, batch, torch.zeros_like(batch.latents), numbers(9, 9, 9), numbers(5, 5, 5), 1.0
    )
    before = method.target(pair, batch)
    with torch.no_grad():
        for parameter in roles["student"].container.parameters():
            parameter.add_(1.0)
    assert torch.equal(method.target(pair, batch), before)
    roles["target"].follow(roles["student"], 0.9)
    assert not torch.equal(method.target(pair, batch), before)


def test_samples_above_the_transition_have_a_heavy_tail_and_none_is_below() -> None:
    uniform = torch.linspace(0.0, 1.0, 10001, dtype=torch.float64)[:-1]
    drawn = truncated_student_t(uniform, 0.0, math.log(80.0), 0.01, 0.2)
    assert (drawn.min().item(), drawn.max().item()) == (
        pytest.approx(0.0, abs=1e-3),
        pytest.approx(math.log(80), abs=1e-2),
    )
    assert bool((drawn.diff() >= 0).all())
    # nearly as 1 / |log t| beyond its scale: as much between .5 and 1 as between 1 and 2
    share = [((drawn > low) & (drawn < 2 * low)).double().mean().item() for low in (0.5, 1.0, 2.0)]
    assert share[0] == pytest.approx(share[1], rel=0.1)
    assert share[1] == pytest.approx(share[2], rel=0.1)


def test_targets_switch_to_the_first_stage_at_the_transition() -> None:
    options = TcmOptions(pair="data", max_ratio=0.5)
    roles, batch = toy_roles(spec("tcm"), options), toy_batch()
    method = Tcm(roles, options)
    boundary_B = torch.tensor([True, False, False])
    t_B, r_B = method.times(toy_draw(1), boundary_B)
    assert (t_B[0].item(), r_B[0].item()) == (500.0, 500.0)
    assert bool((t_B[1:] > 500.0).all())
    pair = make_pair(
        roles["student"],
        None,
        batch,
        torch.zeros_like(batch.latents),
        numbers(990, 990, 990),
        numbers(499, 500, 501),
        1.0,
    )
    found = method._target(pair, batch)
    for row, role in enumerate(("first_stage", "first_stage", "student")):
        own = roles[role].predict_x0(pair.earlier_BTCHW, pair.r_B, batch.condition_of(roles[role]))
        torch.testing.assert_close(found[row], own[row].detach())


def test_the_boundarys_share_of_a_large_batch_is_as_asked_and_a_batch_of_one_has_a_finite_loss() -> None:
    drawn = torch.stack([toy_draw(step, 8).bernoulli("boundary", 0.25) for step in range(1, 251)])
    assert drawn.double().mean().item() == pytest.approx(0.25, abs=0.03)
    options = TcmOptions(pair="data")
    roles = toy_roles(spec("tcm"), options)
    for step in range(1, 9):
        (loss,) = Tcm(roles, options).losses(toy_batch(1), toy_draw(step, 1))
        assert bool(loss.value.isfinite())


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (ConsistencyOptions, {"denoising_steps": (500, 1000)}, "descend strictly"),
        (ConsistencyOptions, {"denoising_steps": (1.0, 0.5)}, "did you mean × 1000"),
        (TcmOptions, {"denoising_steps": (1000, 400)}, "learns nothing below the transition"),
        (ConsistencyOptions, {"ratio_base": 1.0}, "greater than 1"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    kind: type[ConsistencyOptions], given: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        kind.model_validate(given)


def test_the_student_is_sampled_stochastically_at_its_own_warped_steps() -> None:
    options = ConsistencyOptions(denoising_steps=(1000, 500, 0), warp_denoising_steps=True)
    roles = toy_roles(spec("consistency"), options)
    adapter = roles["student"].adapter
    assert isinstance(adapter, ToyAdapter)
    adapter.options = adapter.options.model_copy(update={"flow_shift": 5.0})
    request = make(roles, options).validation(1)
    assert (request.sampler, request.timesteps, request.guidance_scale) == (
        "sde",
        pytest.approx((1000.0, 833.33333)),
        1.0,
    )
