"""LADD: its contract, its losses by hand, and who is trained when."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from distill_core.testing.contracts import check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_core.training.roles import RoleHandle
from distill_method_ladd.config import LaddOptions
from distill_method_ladd.method import Ladd
from distill_method_ladd.plugin import demands, spec


def test_the_method_keeps_its_contract_without_a_critic() -> None:
    report = check_method(spec(), LaddOptions(generator_update_interval=3), steps=4)
    assert [report.steps[step] for step in (1, 2, 3)] == [("discriminator",), ("discriminator",), ("student",)]
    assert "critic" not in spec().roles


def silenced(options: LaddOptions) -> dict[str, RoleHandle]:
    """Roles whose discriminator says 0 of everything."""
    roles = toy_roles(spec(), options)
    for branch in roles["discriminator"].module.branches:
        torch.nn.init.zeros_(branch.judge[2].weight)
        torch.nn.init.zeros_(branch.judge[2].bias)
    return roles


def test_the_losses_of_a_silent_discriminator_by_hand() -> None:
    options = LaddOptions(gan_r1_weight=0.0)
    found = {
        loss.role: loss.value.item()
        for step in (1, 2)
        for loss in Ladd(silenced(options), options).losses(toy_batch(), toy_draw(step))
    }
    assert found == {"discriminator": pytest.approx(2 * math.log(2)), "student": pytest.approx(math.log(2))}


@pytest.mark.parametrize("rollout", ["data_latent", "simulate"])
def test_the_student_learns_through_the_frozen_teacher(rollout: str) -> None:
    options = LaddOptions.model_validate({"rollout": rollout, "warp_denoising_steps": True})
    roles = toy_roles(spec(), options)
    before = {name: tensor.clone() for name, tensor in roles["teacher"].container.state_dict().items()}
    next(Ladd(roles, options).losses(toy_batch(), toy_draw(2))).value.backward()
    assert gradients(roles)["student"].norm() > 0
    assert all(parameter.grad is None for parameter in roles["teacher"].container.parameters())
    assert all(tensor.equal(before[name]) for name, tensor in roles["teacher"].container.state_dict().items())


def test_the_discriminators_steps_train_nobody_else() -> None:
    options = LaddOptions()
    roles = toy_roles(spec(), options)
    next(Ladd(roles, options).losses(toy_batch(), toy_draw(1))).value.backward()
    assert set(gradients(roles)) == {"discriminator"}


def test_turns_that_leave_the_discriminator_no_step_are_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        LaddOptions(generator_update_interval=1)


def test_real_clips_are_needed_under_either_rollout() -> None:
    assert all(demands(LaddOptions.model_validate({"rollout": each})).latents for each in ("simulate", "data_latent"))
