"""One step of training on each member of the family, and what recomputation may change: nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.wan.conftest import CPU
from torch import Tensor

from distill_core.protocols import Row
from distill_core.training.batches import Batches
from distill_core.training.roles import RoleHandle
from distill_model_wan.folder import WanFolder
from distill_model_wan.model import WanModel
from distill_model_wan.testing import TEXT_WIDTH, Variant

MakeModel = Callable[..., WanModel]
MakeRole = Callable[..., RoleHandle]
Draw = Callable[..., Tensor]
VARIANTS: tuple[Variant, ...] = ("t2v", "a14b", "ti2v")


def loss_of(model: WanModel, role: RoleHandle, folder: WanFolder, noise: Draw) -> Tensor:
    """The flow-matching loss of two clips, one at a high and one at a low timestep."""
    channels = folder.latent_space.channels
    rows = [Row(str(n), "", noise(4 + n, TEXT_WIDTH, seed=n), noise(channels, 3, 4, 4, seed=9 + n)) for n in range(2)]
    batch = Batches({"wan": model.adapter}, folder.latent_space, CPU).prepare(rows, (3, channels, 4, 4))
    drawn, t_B = noise(*batch.latents.shape, seed=5), torch.tensor([950.0, 300.0], dtype=torch.float64)
    velocity = role.predict_velocity(role.add_noise(batch.latents, drawn, t_B), t_B, batch.conditions["wan"])
    return (velocity - (drawn - batch.latents)).square().mean()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_trains_every_weight_and_lowers_the_loss(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], noise: Draw, variant: Variant
) -> None:
    model = make_model(variant)
    role = make_role(model, variant)
    before = {name: parameter.detach().clone() for name, parameter in role.trained_parameters().items()}
    optimizer = torch.optim.AdamW(role.trained_parameters().values(), lr=1e-3)
    loss = loss_of(model, role, folders[variant], noise)
    loss.backward()
    optimizer.step()
    unmoved = [name for name, parameter in role.trained_parameters().items() if parameter.equal(before[name])]
    assert unmoved == []
    assert loss_of(model, role, folders[variant], noise) < loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("variant", VARIANTS)
def test_recomputation_leaves_gradients_bitwise_equal(
    make_model: MakeModel,
    make_role: MakeRole,
    folders: dict[Variant, WanFolder],
    noise: Draw,
    variant: Variant,
    dtype: torch.dtype,
) -> None:
    model = make_model(variant, dtype=dtype)
    found: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        role = make_role(model, variant, gradient_checkpointing=checkpointing)
        loss_of(model, role, folders[variant], noise).backward()
        parameters = role.trained_parameters()
        found.append({name: each.grad for name, each in parameters.items() if each.grad is not None})
        assert found[-1].keys() == parameters.keys()
    for name, gradient in found[0].items():
        assert gradient.equal(found[1][name]), name


def test_recomputation_does_recompute(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], noise: Draw
) -> None:
    model = make_model()
    counts = []
    for checkpointing in (False, True):
        role = make_role(model, gradient_checkpointing=checkpointing)
        calls: list[int] = []
        block = role.modules["transformer"].get_submodule("blocks.0")
        block.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        loss_of(model, role, folders["t2v"], noise).backward()
        counts.append(len(calls))
    assert counts == [1, 2]


def test_a_frozen_role_builds_no_graph(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], noise: Draw
) -> None:
    model = make_model()
    role = make_role(model, trainable=False)
    assert not loss_of(model, role, folders["t2v"], noise).requires_grad


def test_loading_leaves_the_global_random_state_alone(make_model: MakeModel, make_role: MakeRole) -> None:
    state = torch.random.get_rng_state()
    make_role(make_model())
    assert torch.random.get_rng_state().equal(state)
