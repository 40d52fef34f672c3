"""Frozen Wan transformers that live in host memory predict, and hand gradients to their inputs, as those that stay."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from tests.wan.conftest import CPU, MakeModel, encoded
from tests.wan.test_wan_lora import Folders, lora_on
from torch import Tensor, nn

from distill_core import flow
from distill_core.protocols import ModelRequest
from distill_core.training.offload import Offload
from distill_core.training.roles import RoleHandle
from distill_core.training.transfers import HostTransfers
from distill_model_wan.model import WanModel

EVERYONE = torch.tensor([True, True])
T_B = torch.tensor([950.0, 400.0], dtype=torch.float64)


def answers(model: WanModel, role: RoleHandle, channels: int) -> list[Tensor]:
    """What it predicts without a graph and with one, and the gradients of the input and of its LoRA."""
    text = encoded(model.adapter, ["a cat", "a blue dog"])
    x = torch.randn(2, 3, channels, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with torch.no_grad():
        quiet = role.predict_velocity(x, T_B, text)
    out = role.predict_velocity(x, T_B, text, input_gradients=True)
    out.square().mean().backward()
    role.rest()
    assert x.grad is not None
    return [quiet, out, x.grad, *(p.grad for p in role.trained_parameters().values() if p.grad is not None)]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("variant", ["a14b", "ti2v"])
def test_numbers_are_those_of_weights_that_stay(
    make_model: MakeModel, folders: Folders, variant: Literal["a14b", "ti2v"], streamed: bool
) -> None:
    model = make_model(variant, dtype=torch.bfloat16)
    facts = folders[variant]
    found: list[list[Tensor]] = []
    for on_host in (False, True):
        request = ModelRequest(facts, False, torch.bfloat16, gradient_checkpointing=True, on_host=on_host)
        base = nn.ModuleDict(model.load_modules(request))
        modules = dict(base.items())
        offload = Offload(modules, HostTransfers(CPU), streamed=streamed) if on_host else None
        lora = lora_on(modules, "student")
        role = RoleHandle("student", base, model.adapter, trainable=True, lora=lora, offload=offload)
        found.append(answers(model, role, facts.latent_space.channels))
        assert len(found[-1]) == 3 + len(role.trained_parameters())
    assert all(mine.equal(theirs) for mine, theirs in zip(*found, strict=True))


@pytest.mark.parametrize("variant", ["a14b", "ti2v"])
def test_both_sides_of_guidance_in_one_pass_are_those_of_two(
    make_model: MakeModel, folders: Folders, variant: Literal["a14b", "ti2v"]
) -> None:
    model = make_model(variant, negative_prompt="ugly, blurred")
    text = encoded(model.adapter, ["a cat", "a red square moves to the left of a blue dog"])
    x = torch.randn(2, 3, folders[variant].latent_space.channels, 4, 4, generator=torch.Generator().manual_seed(1))
    modules = model.load_modules(ModelRequest(folders[variant], False, torch.float32))
    at_once, by_two = (
        RoleHandle("teacher", modules, model.adapter, trainable=False, guidance_passes=passes) for passes in (1, 2)
    )
    both = [flow.both_sides(role, x, T_B, text) for role in (at_once, by_two)]
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    (_, away), _ = both
    assert not torch.allclose(away, by_two.predict_velocity(x, T_B, model.adapter.drop_condition(text, EVERYONE)))
