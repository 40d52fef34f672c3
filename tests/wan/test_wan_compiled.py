"""Compiled Wan transformers, by dynamo's own backend: what is traced is what the plain blocks do."""

from __future__ import annotations

import pytest
import torch
from tests.wan.conftest import MakeModel
from tests.wan.test_wan_lora import Folders, Shared
from torch import Tensor

from distill_core.training.compiled import compile_blocks, made
from distill_core.training.lora import linear_layers


@pytest.mark.slow
def test_roles_on_compiled_experts_train_as_on_plain_ones_and_compile_once(
    make_model: MakeModel, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_core.training.compiled.BACKEND", "eager")
    torch._dynamo.reset()
    plain, compiled = (Shared(make_model("a14b"), folders["a14b"], torch.float32, recompute=True) for _ in range(2))
    blocks = sum(len(expert.blocks) for expert in compiled.base.values())
    assert compile_blocks(compiled.base.values()) == blocks
    assert len(linear_layers(dict(compiled.base.items()))) > 2 * blocks

    def tried(shared: Shared) -> dict[str, Tensor]:
        """The student's gradients, with another's predictions in between; and what each predicts."""
        found = shared.gradients(shared.critic, shared.teacher)
        return found | {role.name: shared.velocity(role) for role in (shared.teacher, shared.student, shared.critic)}

    expected = tried(plain)
    first, warm = tried(compiled), made()
    again = tried(compiled)
    assert made() == warm
    for found in (first, again):
        assert found.keys() == expected.keys()
        assert all(tensor.equal(expected[name]) for name, tensor in found.items())
    torch._dynamo.reset()
