"""DMD2's GAN: its losses by hand, whom each trains, one teacher forward for score and features, and whole runs with it."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from test_dmd2_method import spec
from torch import Tensor

from distill_core.errors import ConfigError
from distill_core.protocols import Prediction
from distill_core.testing.contracts import check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_core.testing.toy import ToyAdapter
from distill_core.training.roles import RoleHandle
from distill_matching.discriminator import Branch, approximate_r1, discriminator_loss, generator_loss
from distill_method_dmd2.config import Dmd2Options
from distill_method_dmd2.method import Dmd2
from distill_method_dmd2.plugin import demands

WITH = Dmd2Options(generator_update_interval=2, gan_weight=0.03, gan_r1_weight=0.1)


def silenced(roles: dict[str, RoleHandle]) -> None:
    """A discriminator that says 0 of everything."""
    for branch in roles["discriminator"].module.branches:
        torch.nn.init.zeros_(branch.judge[2].weight)
        torch.nn.init.zeros_(branch.judge[2].bias)


def test_the_losses_by_hand() -> None:
    none = torch.zeros(3)
    assert generator_loss(none).item() == pytest.approx(math.log(2))
    assert discriminator_loss(none, none).item() == pytest.approx(2 * math.log(2))
    # softplus(1) + softplus(-2), softplus(x) = log(1 + e^x).
    expected = math.log(1 + math.e) + math.log(1 + math.exp(-2))
    assert discriminator_loss(torch.tensor([1.0]), torch.tensor([2.0])).item() == pytest.approx(expected)
    assert approximate_r1(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0])).item() == pytest.approx((1 + 4) / 2)


@pytest.mark.parametrize("options", [WITH, Dmd2Options(gan_weight=0.01, gan_same_noise=False, critic_rests=True)])
def test_the_method_keeps_its_contract_with_it(options: Dmd2Options) -> None:
    check_method(spec(), options)


def test_each_loss_reaches_its_own_role_and_the_teacher_none() -> None:
    roles = toy_roles(spec(), WITH)
    seen = {}
    for loss in Dmd2(roles, WITH).losses(toy_batch(), toy_draw(2)):
        loss.value.backward()
        seen[loss.name] = (
            set(gradients(roles)) - {"discriminator"} if loss.name == "student_loss" else set(gradients(roles))
        )
    assert seen == {"student_loss": {"student"}, "critic_loss": {"critic"}, "discriminator_loss": {"discriminator"}}


def test_a_silent_discriminator_leaves_the_students_loss_but_for_a_constant() -> None:
    values = {}
    for name, options in (("without", WITH.model_copy(update={"gan_weight": 0.0})), ("with", WITH)):
        roles = toy_roles(spec(), WITH)
        silenced(roles)
        loss = next(Dmd2(roles, options).losses(toy_batch(), toy_draw(2)))
        loss.value.backward()
        values[name] = loss.value.item(), gradients(roles)["student"]
    assert values["with"][0] == pytest.approx(values["without"][0] + 0.03 * math.log(2), rel=1e-5)
    torch.testing.assert_close(values["with"][1], values["without"][1], rtol=1e-4, atol=1e-8)


def test_a_discriminator_learns_to_tell_samples_from_data() -> None:
    roles = toy_roles(spec(), WITH)
    method, batch = Dmd2(roles, WITH), toy_batch()
    optimizer = torch.optim.Adam(roles["discriminator"].container.parameters(), lr=1e-2)
    found = []
    for _ in range(40):
        loss = next(loss for loss in method.losses(batch, toy_draw(1)) if loss.role == "discriminator")
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        found.append(loss.value.item())
    assert found[-1] < 0.7 * found[0]


def test_score_and_features_come_from_one_forward_of_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[tuple[int, bool]] = Counter()
    original = ToyAdapter.predict

    def counted(adapter: ToyAdapter, modules: dict[str, torch.nn.Module], *args: Any) -> Prediction:
        calls[id(modules["denoiser"]), bool(args[-1].features)] += 1
        return original(adapter, modules, *args)

    monkeypatch.setattr(ToyAdapter, "predict", counted)
    roles = toy_roles(spec(), WITH)
    next(Dmd2(roles, WITH).losses(toy_batch(), toy_draw(2)))
    teacher = id(roles["teacher"].modules["denoiser"])
    assert calls[teacher, True] == 1, "conditional: the score and the features"
    assert calls[teacher, False] == 1, "unconditional: guidance"


@pytest.mark.parametrize("same", [True, False])
def test_real_and_fake_clips_share_timestep_and_noise_where_asked(same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    original = ToyAdapter.predict

    def watched(adapter: ToyAdapter, modules: dict[str, torch.nn.Module], *args: Any) -> Prediction:
        if args[-1].features:
            seen.append(args[1])
        return original(adapter, modules, *args)

    options = WITH.model_copy(update={"gan_same_noise": same, "gan_r1_weight": 0.0})
    roles = toy_roles(spec(), options)
    monkeypatch.setattr(ToyAdapter, "predict", watched)
    list(Dmd2(roles, options).losses(toy_batch(), toy_draw(1)))
    fake_t, real_t = seen
    assert fake_t.equal(real_t) == same


def test_r1_of_no_move_is_nothing() -> None:
    options = WITH.model_copy(update={"gan_r1_scale": 0.0})
    loss = list(Dmd2(toy_roles(spec(), options), options).losses(toy_batch(), toy_draw(1)))[-1]
    assert loss.metrics["r1"].item() == 0.0


def test_without_it_neither_features_nor_latents_nor_a_discriminator_are_needed() -> None:
    asked = demands(Dmd2Options())
    assert not asked.latents
    assert asked.roles is not None
    assert "discriminator" not in asked.roles
    assert "features" not in asked.roles["teacher"].operations
    assert demands(WITH).latents


def test_layers_that_the_teacher_does_not_have_are_refused() -> None:
    options = WITH.model_copy(update={"gan_layers": (0, 7)})
    with pytest.raises(ConfigError, match=r"gan_layers: is \[0, 7\], and .* has the layers 0 to 0"):
        toy_roles(spec(), options)


@pytest.mark.parametrize("features", [8, 24, 1536])
def test_a_discriminator_takes_features_of_any_width_and_a_batch_of_one(features: int) -> None:
    assert Branch(features)(torch.randn(1, 2, features, 3, 3)).shape == (1,)


def test_the_gan_pulls_the_student_through_the_frozen_teacher() -> None:
    pulls = {}
    for weight in (0.0, 30.0, 60.0):  # large, so that float32 does not cancel their difference
        options = WITH.model_copy(update={"gan_weight": weight})
        roles = toy_roles(spec(), WITH)
        next(Dmd2(roles, options).losses(toy_batch(), toy_draw(2))).value.backward()
        pulls[weight] = gradients(roles)["student"]
    once, twice = pulls[30.0] - pulls[0.0], pulls[60.0] - pulls[0.0]
    assert once.norm() > 0
    torch.testing.assert_close(twice, 2.0 * once, rtol=1e-2, atol=1e-8)
