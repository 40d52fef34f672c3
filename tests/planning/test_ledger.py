"""The ledger of storages: what is alive, whose it is, what was computed; the same for hollow tensors and real ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch

from distill_core.planning.hollow import hollow_world
from distill_core.planning.ledger import NOBODY, Ledger

WORLDS = pytest.mark.parametrize("world", [nullcontext, hollow_world])
World = Callable[[], AbstractContextManager[None]]
KIB = 1 << 10


@WORLDS
def test_a_storage_counts_from_when_it_is_made_until_it_is_gone(world: World) -> None:
    with world(), Ledger() as ledger:
        phase = ledger.turn("phase")
        kept = torch.zeros(256, 256)
        view = kept[1:]
        assert ledger.total == 256 * KIB
        kept + 1
        del kept
        assert ledger.total == 256 * KIB
        del view
        assert ledger.total == 0
        assert phase.peak == 512 * KIB


@WORLDS
def test_a_storage_is_its_owners_until_it_is_gone(world: World) -> None:
    with world(), Ledger() as ledger:
        weight = torch.zeros(256, 256)
        ledger.own(("student", "weights"), [weight, weight[3:]])
        assert ledger.owned == {("student", "weights"): 256 * KIB}
        other = weight.clone()
        assert ledger.owned[NOBODY] == 256 * KIB
        del other, weight
        assert ledger.owned == {}


@WORLDS
def test_each_phase_has_a_peak_of_its_own_and_says_what_was_alive_at_its_ends(world: World) -> None:
    with world(), Ledger() as ledger:
        first = ledger.turn("first")
        large = torch.zeros(512, 256)
        second = ledger.turn("second")
        del large
        small = torch.zeros(256, 256)
        ledger.turn("third")
        assert (first.peak, first.before, first.after) == (512 * KIB, 0, 512 * KIB)
        assert (second.peak, second.before, second.after) == (512 * KIB, 512 * KIB, 256 * KIB)
        assert small.shape == (256, 256)


@WORLDS
def test_products_count_as_operations_and_all_else_as_traffic(world: World) -> None:
    with world(), Ledger() as ledger:
        a, b = torch.zeros(256, 128), torch.zeros(128, 512)
        phase = ledger.turn("phase")
        product = a @ b
        assert phase.work.flops == 2 * 256 * 128 * 512
        assert phase.work.traffic == 0
        product.neg()
        assert phase.work.traffic == 2 * 256 * 512 * 4


def test_attention_counts_its_two_products_and_five_of_its_backward() -> None:
    with hollow_world(), Ledger() as ledger:
        q, k, v = (torch.zeros(1, 4, 512, 32, requires_grad=True) for _ in range(3))
        phase = ledger.turn("forward")
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        product = 2 * 4 * 512 * 512 * 32
        assert phase.work.flops == 2 * product
        phase = ledger.turn("backward")
        out.sum().backward()
        assert phase.work.flops == 5 * product
