"""Exports against vanilla diffusers: what WanPipeline makes of the folder is what our sampler makes of the role."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from safetensors.torch import load_file
from torch import Tensor

from distill_core.protocols import ValidationRequest
from distill_core.training.roles import RoleHandle
from distill_diffusers.export_record import read_record
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import WanFolder, inspect
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant

MakeModel = Callable[..., WanModel]
MakeRole = Callable[..., RoleHandle]
SHIFT_5 = (1000.0, 937.5, 2500.0 / 3.0, 625.0)
FEW = ValidationRequest(
    "student", "sde", timesteps=(1000.0, 750.0, 500.0, 250.0), guidance_scale=1.0, seeds=(7,), prompts=("a cat",)
)


def shape_of(variant: Variant) -> tuple[int, int, int, int]:
    return (2, 48, 2, 2) if variant == "ti2v" else (2, 16, 4, 4)


def train_a_little(role: RoleHandle) -> None:
    """Weights that differ from the base folder's, so that an export of the wrong ones is seen."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in role.trained_parameters().values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def ours(model: WanModel, role: RoleHandle, request: ValidationRequest, variant: Variant) -> Tensor:
    """The latents [B, C, T, H, W] that our sampler decodes."""
    with patch.object(model.adapter, "decode_latents", wraps=model.adapter.decode_latents) as decode:
        list(model.sampler.sample(role, request, shape_of(variant)))
    latents_BTCHW: Tensor = decode.call_args.args[0]
    return latents_BTCHW.transpose(1, 2)


def vanilla(folder: Path, steps: int, *, guidance_scale: float = 1.0, text_length: int = 512) -> Tensor:
    """The latents of the folder through nothing but diffusers; a stochastic scheduler shares the pipeline's generator."""
    pipeline = WanPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(7)
    if pipeline.scheduler.config.get("stochastic_sampling"):
        pipeline.scheduler.step = partial(pipeline.scheduler.step, generator=generator)
    latents: Tensor = pipeline(
        "a cat", height=32, width=32, num_frames=5, num_inference_steps=steps, guidance_scale=guidance_scale,
        generator=generator, output_type="latent", max_sequence_length=text_length,
    ).frames  # fmt: skip
    return latents


@pytest.mark.parametrize("request_", [FEW, replace(FEW, sampler="ode")], ids=["sde", "ode"])
@pytest.mark.parametrize("variant", ["t2v", "a14b"])
def test_a_few_step_export_is_sampled_bitwise_by_diffusers(
    make_model: MakeModel,
    make_role: MakeRole,
    folders: dict[Variant, WanFolder],
    tmp_path: Path,
    variant: Variant,
    request_: ValidationRequest,
) -> None:
    model = make_model(variant, text_padding="full")
    role = make_role(model, variant)
    train_a_little(role)
    model.export(role.modules, folders[variant], request_, shape_of(variant), tmp_path / "out", torch.float32)
    assert vanilla(tmp_path / "out", 4).equal(ours(model, role, request_, variant))


@pytest.mark.parametrize("text_length", [512, 24])
@pytest.mark.parametrize("grid", [(1000.0,), (1000.0, 312.5), (1000.0, 757.0, 522.0), SHIFT_5])
def test_other_grids_and_folded_padding_agree_to_rounding(
    make_model: MakeModel,
    make_role: MakeRole,
    folders: dict[Variant, WanFolder],
    tmp_path: Path,
    grid: tuple[float, ...],
    text_length: int,
) -> None:
    model = make_model(text_length=text_length)
    role = make_role(model)
    train_a_little(role)
    request = replace(FEW, timesteps=grid)
    model.export(role.modules, folders["t2v"], request, shape_of("t2v"), tmp_path / "out", torch.float32)
    theirs = vanilla(tmp_path / "out", len(grid), text_length=text_length)
    torch.testing.assert_close(ours(model, role, request, "t2v"), theirs, rtol=0, atol=2e-5)


def test_ti2v_agrees_though_diffusers_expands_its_timesteps(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], tmp_path: Path
) -> None:
    model = make_model("ti2v")
    role = make_role(model, "ti2v")
    model.export(role.modules, folders["ti2v"], FEW, shape_of("ti2v"), tmp_path / "out", torch.float32)
    torch.testing.assert_close(ours(model, role, FEW, "ti2v"), vanilla(tmp_path / "out", 4), rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_an_export_is_what_diffusers_would_have_saved(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], tmp_path: Path, dtype: torch.dtype
) -> None:
    model = make_model()
    role = make_role(model)
    train_a_little(role)
    for name, stored in (("whole", torch.float32), ("half", dtype)):
        model.export(role.modules, folders["t2v"], FEW, shape_of("t2v"), tmp_path / name, stored)
    WanTransformer3DModel.from_pretrained(tmp_path / "whole" / "transformer", dtype=dtype).save_pretrained(
        tmp_path / "theirs"
    )
    file = "diffusion_pytorch_model.safetensors"
    expected, found = load_file(tmp_path / "theirs" / file), load_file(tmp_path / "half" / "transformer" / file)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].equal(tensor), name
    assert {tensor.dtype for tensor in found.values()} == {dtype, torch.float32}
    assert {parameter.dtype for parameter in role.trained_parameters().values()} == {torch.float32}


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_a_many_step_export_keeps_the_base_scheduler(
    make_model: MakeModel,
    make_role: MakeRole,
    folders: dict[Variant, WanFolder],
    tmp_path: Path,
    guidance_scale: float,
) -> None:
    model = make_model(text_padding="full", flow_shift=5.0)
    role = make_role(model)
    train_a_little(role)
    request = replace(FEW, sampler="ode", timesteps=None, steps=6, guidance_scale=guidance_scale)
    model.export(role.modules, folders["t2v"], request, shape_of("t2v"), tmp_path / "out", torch.float32)
    scheduler = json.loads((tmp_path / "out" / "scheduler" / "scheduler_config.json").read_text())
    base = json.loads((folders["t2v"].path / "scheduler" / "scheduler_config.json").read_text())
    assert {**scheduler, "flow_shift": 3.0} == base
    assert scheduler["flow_shift"] == 5.0
    expected = vanilla(tmp_path / "out", 6, guidance_scale=guidance_scale)
    assert expected.equal(ours(model, role, request, "t2v"))


def test_an_export_is_a_base_again(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], tmp_path: Path
) -> None:
    model = make_model(flow_shift=8.0, text_length=64)
    role = make_role(model)
    model.export(role.modules, folders["t2v"], FEW, shape_of("t2v"), tmp_path / "one", torch.float32)
    facts = inspect(str(tmp_path / "one"))
    assert facts.sampling is not None
    assert (facts.flow_shift, facts.text_length, facts.recorded_text_length) == (8.0, 64, 64)
    again = WanModel(facts, WanOptions(), torch.device("cpu"), torch.float32)
    many = replace(FEW, sampler="ode", timesteps=None, steps=4)
    again.export(role.modules, facts, many, shape_of("t2v"), tmp_path / "two", torch.float32)
    scheduler = json.loads((tmp_path / "two" / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["_class_name"] == "UniPCMultistepScheduler"
    assert ours(model, role, many, "t2v").equal(ours(again, role, many, "t2v"))


def test_the_record_says_how_to_sample(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], tmp_path: Path
) -> None:
    model = make_model(text_length=64)
    model.export(
        make_role(model).modules,
        folders["t2v"],
        replace(FEW, timesteps=(1000, 500, 0)),
        shape_of("t2v"),
        tmp_path / "out",
        torch.float32,
    )
    record = read_record(tmp_path / "out")
    assert record.sampling is not None
    assert (record.sampling.sampler, record.sampling.steps, record.sampling.guidance_scale) == ("sde", 2, 1.0)
    assert record.sampling.timesteps == (1000.0, 500.0)
    assert (record.text_length, record.flow_shift) == (64, 3.0)
    facts = inspect(str(tmp_path / "out"))
    assert facts.sampling == ValidationRequest("", "sde", timesteps=(1000.0, 500.0), guidance_scale=1.0)
    assert facts.latent_shape == (2, 16, 4, 4)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "num_inference_steps=2," in card
    assert "guidance_scale=1," in card
    assert "    height=32,\n    width=32,\n    num_frames=5,\n" in card
    assert "max_sequence_length=64," in card
    snippet = card.split("```python\n")[1].split("```")[0]
    compile(snippet, "README.md", "exec")


def test_sde_steps_without_timesteps_export_their_shifted_grid(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], tmp_path: Path
) -> None:
    model = make_model(flow_shift=5.0)
    model.export(
        make_role(model).modules,
        folders["t2v"],
        replace(FEW, timesteps=None, steps=4),
        shape_of("t2v"),
        tmp_path / "out",
        torch.float32,
    )
    sampling = read_record(tmp_path / "out").sampling
    assert sampling is not None
    assert sampling.timesteps == pytest.approx(SHIFT_5)


def test_nothing_says_which_machine_it_was_made_on(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], tmp_path: Path
) -> None:
    model = make_model("a14b")
    model.export(
        make_role(model, "a14b").modules, folders["a14b"], FEW, shape_of("a14b"), tmp_path / "out", torch.float32
    )
    texts = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".json", ".md")]
    assert len(texts) > 6
    assert not [path for path in texts if str(folders["a14b"].path) in path.read_text()]
