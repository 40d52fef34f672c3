"""f-distill: its contract, that ``rkl`` is DMD2 bit for bit, and that a batch of one is weighed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.protocols import Method
from distill_core.testing.contracts import check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_core.training.roles import RoleHandle
from distill_method_dmd2 import plugin as dmd2
from distill_method_dmd2.config import Dmd2Options
from distill_method_dmd2.method import Dmd2
from distill_method_fdistill.config import Divergence, FdistillOptions
from distill_method_fdistill.method import Fdistill
from distill_method_fdistill.plugin import spec

ALIKE = {
    "generator_update_interval": 2,
    "gan_weight": 0.03,
    "gan_r1_weight": 0.1,
    "critic_loss": "x0",
    "score_floor": 0.3,
}


def test_the_method_keeps_its_contract() -> None:
    report = check_method(spec(), FdistillOptions(generator_update_interval=2), steps=3)
    assert report.steps[1] == ("critic", "discriminator")
    assert report.steps[2] == ("student", "critic", "discriminator")


def trained(method: Method, roles: dict[str, RoleHandle], steps: int = 4) -> dict[str, list[Tensor]]:
    """The gradients and losses of a few steps."""
    found: dict[str, list[Tensor]] = {}
    for step in range(1, steps + 1):
        for loss in method.losses(toy_batch(), toy_draw(step)):
            loss.value.backward()
            found.setdefault(loss.name, []).append(loss.value.detach())
        for name, gradient in gradients(roles).items():
            found.setdefault(name, []).append(gradient)
    return found


def test_the_reverse_divergence_is_dmd2_bit_for_bit() -> None:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    dmd2.distill_register_methods(registry)
    theirs, ours = Dmd2Options.model_validate(ALIKE), FdistillOptions.model_validate({**ALIKE, "divergence": "rkl"})
    reference_roles, roles = toy_roles(registry.specs[0], theirs), toy_roles(spec(), ours)
    reference, found = trained(Dmd2(reference_roles, theirs), reference_roles), trained(Fdistill(roles, ours), roles)
    assert set(found) == set(reference) >= {"student", "critic", "discriminator", "student_loss"}
    for name, tensors in reference.items():
        assert len(tensors) == len(found[name])
        assert all(mine.equal(other) for mine, other in zip(found[name], tensors, strict=True)), name


def pulled(divergence: Divergence, logit: float, size: int = 1) -> Tensor:
    """The student's gradient where the discriminator says ``logit`` of everything, but for the pull of the GAN itself."""
    options = FdistillOptions(generator_update_interval=1, divergence=divergence, gan_weight=1e-12)
    roles = toy_roles(spec(), options)
    for branch in roles["discriminator"].module.branches:
        torch.nn.init.zeros_(branch.judge[2].weight)
        torch.nn.init.constant_(branch.judge[2].bias, logit)
    next(Fdistill(roles, options).losses(toy_batch(size), toy_draw(1, size))).value.backward()
    return gradients(roles)["student"]


def test_a_batch_of_one_is_weighed_as_a_larger_one_is() -> None:
    plain, real = pulled("kl", 0.0), pulled("kl", 2.0)
    torch.testing.assert_close(real, torch.tensor(2.0).exp() * plain, rtol=1e-4, atol=1e-7)


def test_divergences_disagree_on_which_samples_matter() -> None:
    likely_real = {name: pulled(name, 1.0).norm() / pulled(name, 0.0).norm() for name in ("kl", "neyman")}
    assert likely_real["kl"].item() == pytest.approx(2.71828, rel=1e-3)
    assert likely_real["neyman"].item() == pytest.approx(1 / 2.71828, rel=1e-3)


def test_the_running_means_are_in_the_discriminators_state() -> None:
    options = FdistillOptions(generator_update_interval=1, divergence="jf")
    roles = toy_roles(spec(), options)
    list(Fdistill(roles, options).losses(toy_batch(), toy_draw(1)))
    means = roles["discriminator"].module.state_dict()["mean_weight"]
    assert means.shape == (10,)
    assert (means != 1.0).any()
