"""Rewards beside the scores: what they add to the loss, which samples they are asked about, how often, and what a run then needs."""

from __future__ import annotations

import pytest
import torch
from test_dmd2_method import spec
from torch import Tensor

from distill_core.protocols import StagedLoss
from distill_core.testing.contracts import check_method, toy_batch, toy_draw, toy_roles
from distill_method_dmd2.config import Dmd2Options
from distill_method_dmd2.method import Dmd2
from distill_method_dmd2.plugin import demands

ONE_STEP = Dmd2Options(generator_update_interval=1, dmd_denoising_steps=(1000.0,), reward_weight=0.5)
SAID = "reward/brightness"


def student_loss(options: Dmd2Options, step: int = 1) -> tuple[StagedLoss, Tensor]:
    """The loss of the student at a step, and its gradient to all of the student's weights."""
    roles = toy_roles(spec(), options)
    loss = next(iter(Dmd2(roles, options).losses(toy_batch(), toy_draw(step))))
    loss.value.backward()
    weights = roles["student"].container.parameters()
    return loss, torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None])


@pytest.mark.parametrize("interval", [1, 2])
def test_with_rewards_it_keeps_its_contract(interval: int) -> None:
    check_method(spec(), ONE_STEP.model_copy(update={"reward_interval": interval}), steps=2)


def test_the_mean_reward_is_taken_off_the_loss_and_its_gradient_off_the_gradient() -> None:
    without, alone = student_loss(ONE_STEP.model_copy(update={"reward_weight": 0.0}))
    half, gradient = student_loss(ONE_STEP)
    twice, double = student_loss(ONE_STEP.model_copy(update={"reward_weight": 1.0}))
    assert SAID not in without.metrics
    assert half.value.item() == pytest.approx(without.value.item() - 0.5 * half.metrics[SAID].item())
    assert twice.value.item() == pytest.approx(without.value.item() - half.metrics[SAID].item())
    torch.testing.assert_close(double - alone, 2.0 * (gradient - alone), rtol=1e-4, atol=1e-7)
    assert (gradient - alone).norm() > 0


def test_only_clips_that_are_done_are_rewarded() -> None:
    options = ONE_STEP.model_copy(update={"dmd_denoising_steps": (1000.0, 500.0)})
    roles = toy_roles(spec(), options)
    method = Dmd2(roles, options)
    found = set()
    for step in range(1, 13):
        done = method.sample(toy_batch(), toy_draw(step).within("student")).next_B.eq(0).all().item()
        loss = next(iter(method.losses(toy_batch(), toy_draw(step))))
        assert (SAID in loss.metrics) is done
        found.add(done)
    assert found == {True, False}


def test_of_a_rollout_from_data_the_finished_clips_alone_count() -> None:
    options = ONE_STEP.model_copy(update={"dmd_denoising_steps": (1000.0, 500.0), "rollout": "data_latent"})
    batch, draw = toy_batch(8), toy_draw(1, 8)
    roles = toy_roles(spec(), options)
    method = Dmd2(roles, options)
    sample = method.sample(batch, draw.within("student"))
    done = (sample.next_B == 0).tolist()
    assert 0 < sum(done) < 8
    bright = roles["student"].decode_pixels(sample.x_BTCHW).flatten(1).mean(1)
    with_rewards = next(iter(method.losses(batch, draw)))
    method.rewards = None
    without = next(iter(method.losses(batch, draw)))
    share = sum(value.item() for value, there in zip(bright, done, strict=True) if there) / 8
    assert without.value.item() - with_rewards.value.item() == pytest.approx(0.5 * share, rel=1e-3, abs=1e-6)


def test_they_are_asked_on_every_so_manyth_update() -> None:
    options = ONE_STEP.model_copy(update={"generator_update_interval": 2, "reward_interval": 2})
    roles = toy_roles(spec(), options)
    method = Dmd2(roles, options)
    asked = [any(SAID in loss.metrics for loss in method.losses(toy_batch(), toy_draw(step))) for step in range(1, 9)]
    assert asked == [False, False, False, True] * 2


def test_a_weight_asks_for_rewards_with_a_gradient_and_pixels_of_the_student() -> None:
    asked, plain = demands(ONE_STEP), demands(Dmd2Options())
    assert (asked.rewards, plain.rewards) == ("differentiable", "none")
    assert "decode_pixels" in asked.roles["student"].operations
    assert "decode_pixels" not in plain.roles["student"].operations
    assert "rewards" in asked.roles
    assert "rewards" not in plain.roles


def test_an_interval_of_no_rewards_is_without_effect() -> None:
    assert ("reward_interval",) in [names for _, names in Dmd2Options().idle()]
    assert ("reward_interval",) not in [names for _, names in ONE_STEP.idle()]
