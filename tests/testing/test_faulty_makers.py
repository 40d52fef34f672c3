"""What makes a method's columns, each time with one fault; knowledge distillation's own has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.protocols import Batch, Draw
from distill_core.testing.contracts import ContractError, check_method
from distill_method_kd.config import KdOptions
from distill_method_kd.paths import PathMaker
from distill_method_kd.plugin import distill_register_methods

Make = Callable[[PathMaker, Batch, Draw], dict[str, Tensor]]
ORIGINAL = PathMaker.make
STORED = KdOptions(trajectories="stored", teacher_steps=2, denoising_steps=(1000,))


def spec() -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return registry.specs[0]


def found() -> str:
    with pytest.raises(ContractError) as caught:
        check_method(spec(), STORED, steps=1)
    return str(caught.value)


def another_name(maker: PathMaker, batch: Batch, draw: Draw) -> dict[str, Tensor]:
    return {"path": ORIGINAL(maker, batch, draw)["trajectory"]}


def another_shape(maker: PathMaker, batch: Batch, draw: Draw) -> dict[str, Tensor]:
    return {"trajectory": ORIGINAL(maker, batch, draw)["trajectory"][..., :2]}


def by_chance(maker: PathMaker, batch: Batch, draw: Draw) -> dict[str, Tensor]:
    return {"trajectory": torch.randn_like(ORIGINAL(maker, batch, draw)["trajectory"])}


def by_the_batch(maker: PathMaker, batch: Batch, draw: Draw) -> dict[str, Tensor]:
    path = ORIGINAL(maker, batch, draw)["trajectory"]
    return {"trajectory": path - path.mean(0)}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (another_name, "its maker gives path, and the columns with made_with are trajectory"),
        (another_shape, "is due, with W = 4"),
        (by_chance, "is another when it is made again"),
        (by_the_batch, "of a row is another in another batch"),
    ],
)
def test_a_maker_with_a_fault_is_found(make: Make, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PathMaker, "make", make)
    assert words in found()


def test_columns_that_nobody_makes_are_found() -> None:
    with pytest.raises(ContractError, match="has made_with, and nobody makes it"):
        check_method(replace(spec(), makes=""), STORED, steps=1)
