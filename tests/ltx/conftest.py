"""Tiny LTX-Video folders, made once per test process, and what is built from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distill_core.protocols import ModelRequest
from distill_core.training.roles import RoleHandle
from distill_diffusers.facts import DiffusersFacts
from distill_model_ltx.folder import inspect
from distill_model_ltx.model import LtxModel
from distill_model_ltx.plugin import LtxOptions
from distill_model_ltx.testing import make_tiny_pipeline

CPU = torch.device("cpu")
SHAPE = (3, 8, 4, 8)
"""[T, C, H, W] of the samples: 9 frames of 32 × 64 pixels."""


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pipeline. Tests that change one copy it first."""
    return make_tiny_pipeline(tmp_path_factory.mktemp("ltx") / "tiny")


@pytest.fixture(scope="session")
def facts(pipeline: Path) -> DiffusersFacts:
    """What is known of it."""
    return inspect(str(pipeline))


@pytest.fixture
def make_model(facts: DiffusersFacts) -> Callable[..., LtxModel]:
    """``make_model(negative_prompt="dull")``: a family at run time, on the CPU."""

    def make(dtype: torch.dtype = torch.float32, **options: object) -> LtxModel:
        return LtxModel(facts, LtxOptions.model_validate(options), CPU, dtype)

    return make


@pytest.fixture
def make_role(facts: DiffusersFacts) -> Callable[..., RoleHandle]:
    """``make_role(model)``: a role whose weights differ from the folder's, so that an export of the wrong ones is seen."""

    def make(model: LtxModel, *, trainable: bool = True, gradient_checkpointing: bool = False) -> RoleHandle:
        request = ModelRequest(facts, trainable, torch.float32, gradient_checkpointing)
        role = RoleHandle("student", model.load_modules(request), model.adapter, trainable=trainable)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in role.modules["transformer"].parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        return role

    return make
