"""Tiny Wan folders, made once per test process, and what is built from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.wan.causal_case import CAUSAL, FRAMES, Case, Draw
from tests.wan.stored_forms import WEIGHTS, Put
from torch import Tensor

from distill_core.protocols import ModelRequest, Prompt
from distill_core.training.roles import RoleHandle
from distill_diffusers.parts_file import PARTS
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


@pytest.fixture
def case(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], noise: Draw
) -> Callable[..., Case]:
    """``case("a14b", gradient_checkpointing=True)``."""

    def make(variant: Variant = "t2v", dtype: torch.dtype = torch.float32, **options: Any) -> Case:
        model = make_model(variant, dtype)
        role = make_role(model, variant, **{"operations": CAUSAL, **options})
        channels = folders[variant].latent_space.channels
        text = encoded(model.adapter, ["a cat", "a red square moves left"])
        return Case(role, text, noise(2, FRAMES, channels, 4, 4))

    return make


@pytest.fixture
def base(pipelines: dict[Variant, Path]) -> Path:
    return pipelines["t2v"]


@pytest.fixture
def tensors(base: Path) -> dict[str, Tensor]:
    """The transformer's, as diffusers saves them."""
    return load_file(base / "transformer" / WEIGHTS)


@pytest.fixture
def put(base: Path, tmp_path: Path) -> Put:
    """``put("wan.safetensors")``: a folder whose transformer is that file, and whose other parts are a plain folder's."""

    def make(weights: str, part: str = "transformer", base: Path = base) -> Path:
        folder = tmp_path / "together"
        folder.mkdir(exist_ok=True)
        (folder / PARTS).write_text(json.dumps({"base": str(base), part: str(tmp_path / weights)}))
        return folder

    return make
