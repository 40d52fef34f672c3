"""What a role's recomputation may change: what is kept for backward, and no number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tests.wan.conftest import MakeModel, MakeRole, encoded
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distill_core.config.recomputation import Recomputation
from distill_core.planning.ledger import Ledger
from distill_core.training.roles import RoleHandle
from distill_model_wan.model import WanModel

KINDS = {
    "none": None,
    "every second": Recomputation(every=2),
    "selective": Recomputation(attention_kept=True),
    "full": Recomputation(),
}
T_B = torch.tensor([950.0, 300.0], dtype=torch.float64)


@dataclass(frozen=True)
class Tried:
    """A backward pass: its gradients, and the bytes that were kept for it."""

    gradients: dict[str, Tensor]
    of_input: Tensor
    kept: int


def tried(model: WanModel, role: RoleHandle, said: Recomputation | None) -> Tried:
    """A loss of a role that recomputes so; another prediction, which recomputes otherwise, comes between forward and backward."""
    role.recomputation = said
    role.own.zero_grad()
    text = encoded(model.adapter, ["a cat", "a blue dog"])
    x = torch.randn(2, 3, 16, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with Ledger(on_card=False) as ledger:
        loss = role.predict_velocity(x, T_B, text, input_gradients=True).square().mean()
        kept = sum(ledger.owned.values())
    other = RoleHandle("other", role.container, role.adapter, trainable=role.trainable, recomputation=None)
    other.predict_velocity(x.detach(), T_B, text)
    loss.backward()
    assert x.grad is not None
    found = {name: each.grad for name, each in role.trained_parameters().items() if each.grad is not None}
    return Tried(found, x.grad, kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trainable", [True, False])
def test_each_kind_keeps_fewer_bytes_than_the_one_before_and_changes_no_bit(
    make_model: MakeModel, make_role: MakeRole, dtype: torch.dtype, trainable: bool
) -> None:
    model = make_model(dtype=dtype)
    role = make_role(model, trainable=trainable, gradient_checkpointing=True)
    found = {name: tried(model, role, said) for name, said in KINDS.items()}
    kept = [each.kept for each in found.values()]
    assert kept[0] > kept[1] > kept[3]
    assert kept[0] > kept[2] > kept[3]
    for name, each in found.items():
        assert each.of_input.equal(found["none"].of_input), name
        assert each.gradients.keys() == role.trained_parameters().keys()
        assert all(gradient.equal(found["none"].gradients[key]) for key, gradient in each.gradients.items()), name


class Attended(TorchDispatchMode):
    """Counts the forward passes of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
        return func(*args, **({} if kwargs is None else kwargs))


def test_selective_recomputation_attends_once_and_full_attends_twice(
    make_model: MakeModel, make_role: MakeRole
) -> None:
    model = make_model()
    role, text = make_role(model, gradient_checkpointing=True), encoded(model.adapter, ["a cat"])
    counts = {}
    for name in ("none", "selective", "full"):
        role.recomputation = KINDS[name]
        with Attended() as attended:
            role.predict_velocity(torch.ones(1, 3, 16, 4, 4), T_B[:1], text).square().mean().backward()
        counts[name] = attended.count
    assert counts["none"] > 0
    assert counts["selective"] == counts["none"] == counts["full"] / 2
