"""Tensors without content: shapes are those of real ones, numbers are refused by name, small tensors are real."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distill_core.errors import PlanError
from distill_core.planning.hollow import REAL_UP_TO, HollowTensor, hollow_out, hollow_world, storage_of

LARGE = (256, 128)


def test_a_large_tensor_is_hollow_and_a_small_one_is_real() -> None:
    with hollow_world():
        assert isinstance(torch.zeros(LARGE), HollowTensor)
        assert torch.zeros(3).tolist() == [0.0, 0.0, 0.0]
        assert not isinstance(torch.empty(REAL_UP_TO), HollowTensor)


def test_memory_is_not_needed() -> None:
    with hollow_world():
        petabyte = torch.empty(1 << 20, 1 << 20, 256)
        assert (petabyte @ torch.empty(256, 512)).shape == (1 << 20, 1 << 20, 512)


def test_views_share_a_storage_and_copies_do_not() -> None:
    with hollow_world():
        whole = torch.zeros(LARGE)
        for view in (
            whole[3:],
            whole.T,
            whole.view(-1),
            whole.detach(),
            torch.ops.aten._unsafe_view(whole, (128, 256)),
        ):
            assert storage_of(view)._cdata == storage_of(whole)._cdata
        for copy in (whole.clone(), whole + 1, whole.double()):
            assert storage_of(copy)._cdata != storage_of(whole)._cdata


def test_what_is_made_of_hollow_and_real_is_hollow_and_what_is_changed_is_the_same_tensor() -> None:
    with hollow_world():
        large, small = torch.zeros(LARGE), torch.ones(128)
        assert isinstance(large + small, HollowTensor)
        assert large.add_(small) is large
        assert (small * 2).tolist()[0] == 2.0


def test_gradients_have_the_shapes_and_dtypes_of_real_ones() -> None:
    def gradients() -> list[tuple[torch.Size, torch.dtype, tuple[int, ...]]]:
        """Of attention and a linear layer in bf16."""
        layer = nn.Linear(64, 192)
        with torch.autocast("cpu", torch.bfloat16):
            q, k, v = layer(torch.zeros(2, 640, 64)).unflatten(2, (6, 32)).transpose(1, 2).chunk(3, dim=1)
            out = nn.functional.scaled_dot_product_attention(q, k, v)
        out.float().square().mean().backward()
        return [
            (each.grad.shape, each.grad.dtype, each.grad.stride())
            for each in layer.parameters()
            if each.grad is not None
        ]

    with hollow_world():
        hollow = gradients()
    assert hollow == gradients()
    assert len(hollow) == 2


@pytest.mark.parametrize("read", [lambda x: x.sum().item(), lambda x: x.nonzero(), lambda x: bool(x.sum() > 0)])
def test_what_asks_for_numbers_is_refused_by_name(read: object) -> None:
    assert callable(read)
    with hollow_world(), pytest.raises(PlanError, match=r"reads numbers off the device .*aten\."):
        read(torch.zeros(LARGE))


def test_nothing_can_be_done_with_one_outside() -> None:
    with hollow_world():
        large = torch.zeros(LARGE)
    with pytest.raises(PlanError, match="outside of the plan"):
        large.add(1)


def test_every_parameter_is_made_hollow_and_shared_ones_stay_shared() -> None:
    with hollow_world():
        module = nn.ModuleDict({"a": nn.Linear(8, 8), "b": nn.Linear(8, 8)})
        module["b"].weight = module["a"].weight
        module["a"].bias.requires_grad_(False)
        hollow_out(module, {})
        assert all(isinstance(each, HollowTensor) for each in module.parameters())
        assert module["a"].weight is module["b"].weight
        assert not module["a"].bias.requires_grad


def test_what_is_looked_up_in_a_small_table_is_not_computed_where_it_is_large() -> None:
    with hollow_world():
        table, places = nn.Embedding(4, 256), torch.zeros(64, 128, dtype=torch.long)
        assert not isinstance(table(places[:1]), HollowTensor)
        added = table(places)  # as T5 looks up what it adds to its logits
        assert isinstance(added, HollowTensor)
        assert isinstance(torch.zeros(()) + added, HollowTensor)
