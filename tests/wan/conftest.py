"""Tiny Wan folders, made once per test process, and what is built from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from distill_core.protocols import ModelRequest, Prompt
from distill_core.training.roles import RoleHandle
from distill_model_wan.adapter import WanAdapter
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import WanFolder, inspect
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant, make_tiny_pipeline
from distill_model_wan.text import WanText

CPU = torch.device("cpu")
MakeModel = Callable[..., WanModel]
MakeRole = Callable[..., RoleHandle]


def encoded(adapter: WanAdapter, captions: Sequence[str]) -> WanText:
    """Captions through the text encoder, as one batch."""
    return adapter.encode_condition([Prompt(caption) for caption in captions])


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[Variant, Path]:
    """A saved pipeline of each variant. Tests that change one copy it first."""
    root = tmp_path_factory.mktemp("wan")
    variants: tuple[Variant, ...] = ("t2v", "a14b", "ti2v")
    return {variant: make_tiny_pipeline(root / variant, variant) for variant in variants}


@pytest.fixture(scope="session")
def folders(pipelines: dict[Variant, Path]) -> dict[Variant, WanFolder]:
    """The facts of each."""
    return {variant: inspect(str(path)) for variant, path in pipelines.items()}


@pytest.fixture
def make_model(folders: dict[Variant, WanFolder]) -> MakeModel:
    """``make_model("t2v", text_padding="full")``: a family at run time, on the CPU."""

    def make(variant: Variant = "t2v", dtype: torch.dtype = torch.float32, **options: object) -> WanModel:
        return WanModel(folders[variant], WanOptions.model_validate(options), CPU, dtype)

    return make


@pytest.fixture
def make_role(folders: dict[Variant, WanFolder]) -> MakeRole:
    """``make_role(model, "t2v")``: a role on freshly loaded modules."""

    def make(
        model: WanModel,
        variant: Variant = "t2v",
        *,
        trainable: bool = True,
        gradient_checkpointing: bool = False,
        weights_dtype: torch.dtype = torch.float32,
        attention: tuple[str, ...] = ("dense",),
        operations: frozenset[str] = frozenset(),
    ) -> RoleHandle:
        request = ModelRequest(
            folders[variant], trainable, weights_dtype, gradient_checkpointing, attention, operations
        )
        return RoleHandle("student", model.load_modules(request), model.adapter, trainable=trainable)

    return make


@pytest.fixture
def noise() -> Callable[..., torch.Tensor]:
    """``noise(2, 3, seed=1)``: standard normal float32 of a shape, the same every time."""

    def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)

    return draw
