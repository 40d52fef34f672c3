"""The kit passes the toy family, LTX-Video and every member of Wan, with real diffusers classes at tiny size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import ModelSpec
from distill_core.testing.contracts import check_model
from distill_core.testing.toy_spec import TOY, write_toy_model
from distill_model_ltx import plugin as ltx
from distill_model_ltx import testing as tiny_ltx
from distill_model_wan import plugin as wan
from distill_model_wan.config import WanOptions
from distill_model_wan.testing import Variant, make_tiny_pipeline


def spec_of(register: Callable[[Registry[ModelSpec]], None]) -> ModelSpec:
    registry: Registry[ModelSpec] = Registry(ModelSpec)
    register(registry)
    return registry.specs[0]


def test_the_toy_family_keeps_the_contract(tmp_path: Path) -> None:
    report = check_model(TOY, str(write_toy_model(tmp_path / "toy")), frames=(13, 16, 16))
    assert not report.notes


@pytest.mark.parametrize("variant", ["t2v", "a14b", "ti2v", "flf2v", "ti2v-i2v"])
def test_wan_keeps_the_contract(variant: Variant, tmp_path: Path) -> None:
    size = (9, 64, 64) if variant.startswith("ti2v") else (9, 32, 32)
    folder, options = make_tiny_pipeline(tmp_path / variant, variant), WanOptions(text_length=24)
    check_model(spec_of(wan.distill_register_models), str(folder), options, frames=size)


def test_ltx_keeps_the_contract(tmp_path: Path) -> None:
    folder = tiny_ltx.make_tiny_pipeline(tmp_path / "ltx")
    check_model(spec_of(ltx.distill_register_models), str(folder), frames=(9, 64, 64))
