"""A trained role as a folder of the ecosystem: a diffusers pipeline that WanPipeline loads and samples as the role was sampled.

Writes beside the output and renames, so that there is a whole export or none. Copies the base folder's other parts; trains nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn

from distill_core import flow
from distill_core.errors import ModelFolderError, RunDirectoryError
from distill_core.protocols import ValidationRequest
from distill_core.protocols.validator import SamplerKind
from distill_diffusers.copied_part import copy_licences, copy_part
from distill_diffusers.export_record import RECORD, ExportRecord, RecordedSampling, RecordedVsa
from distill_diffusers.json_files import INDEX, read_object, write_object
from distill_model_wan.folder import WanFolder
from distill_model_wan.model_card import model_card
from distill_model_wan.schedulers import few_step_scheduler, many_step_scheduler
from distill_model_wan.vsa import CUBE

COPIED_PARTS = ("vae", "text_encoder", "tokenizer")
FLOAT32 = frozenset({"time_embedder", "scale_shift_table", "norm1", "norm2", "norm3"})
"""Parts of a transformer that diffusers holds in float32 whatever dtype it is loaded in, and saves so."""


@dataclass(frozen=True)
class ExportPlan:
    """Everything about an export that is settled before anything is written.

    Attributes:
        base: the folder that the role started from.
        scheduler: the diffusers scheduler that samples the export. ``Any``: diffusers' schedulers have no common type.
        record: what distill.json will say.
        dtype: what the transformers' weights are stored in, but for :data:`FLOAT32`.
    """

    base: WanFolder
    scheduler: Any
    record: ExportRecord
    dtype: torch.dtype


def plan_export(
    base: WanFolder,
    request: ValidationRequest,
    kind: SamplerKind,
    latent_shape: tuple[int, int, int, int],
    text_length: int,
    flow_shift: float,
    dtype: torch.dtype,
) -> ExportPlan:
    """Settle how the export is sampled. Raises ModelFolderError if diffusers cannot sample it so."""
    guidance = 1.0 if request.guidance_scale is None else request.guidance_scale
    if guidance < 1.0:
        raise ModelFolderError(f"diffusers applies no guidance scale below 1, got {guidance}; export with 1 or more")
    base_scheduler = base.folder.scheduler
    if request.timesteps is None and kind == "ode":
        assert request.steps is not None
        grid, steps = None, request.steps
        scheduler = many_step_scheduler(base_scheduler, flow_shift)
    else:
        grid = _grid(request, flow_shift)
        steps = len(grid)
        scheduler = few_step_scheduler(grid, stochastic=kind == "sde")
    record = ExportRecord(
        distill_version=version("distill-model-wan"),
        text_length=text_length,
        flow_shift=flow_shift,
        sampling=RecordedSampling(
            sampler=kind, steps=steps, timesteps=grid, guidance_scale=guidance, vsa=_recorded_vsa(request)
        ),
        latent_shape=latent_shape,
        base_scheduler=base_scheduler,
    )
    return ExportPlan(base, scheduler, record, dtype)


def _recorded_vsa(request: ValidationRequest) -> RecordedVsa | None:
    if request.attn_kind != "vsa":
        return None
    return RecordedVsa(sparsity=0.0 if request.sparsity is None else request.sparsity, cube=CUBE)


def _grid(request: ValidationRequest, flow_shift: float) -> tuple[float, ...]:
    if request.timesteps is not None:
        return flow.denoising_grid(request.timesteps)
    assert request.steps is not None
    return flow.shifted_uniform_grid(request.steps, flow_shift)


def write_export(modules: Mapping[str, nn.Module], plan: ExportPlan, output: Path) -> None:
    """Write the pipeline folder. Raises RunDirectoryError if ``output`` is there and not empty."""
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise RunDirectoryError(f"{output} already holds something; name another folder for the export, or remove it")
    for part in COPIED_PARTS:
        plan.base.folder.fetch(part)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as beside:
        folder = Path(beside) / "export"
        folder.mkdir()
        _write_parts(modules, plan, folder)
        os.replace(folder, output)


def _write_parts(modules: Mapping[str, nn.Module], plan: ExportPlan, folder: Path) -> None:
    for name, module in modules.items():
        assert isinstance(module, WanTransformer3DModel)
        module.save_config(folder / name)
        save_torch_state_dict(
            stored_weights(module, plan.dtype),
            folder / name,
            filename_pattern="diffusion_pytorch_model{suffix}.safetensors",
            max_shard_size="10GB",
        )
        _forget_origin(folder / name / "config.json")
    for part in COPIED_PARTS:
        copy_part(plan.base.path / part, folder / part)
    copy_licences(plan.base.path, folder)
    plan.scheduler.save_pretrained(folder / "scheduler")
    index = read_object(plan.base.path / INDEX)
    index.pop("_name_or_path", None)
    index["scheduler"] = ["diffusers", type(plan.scheduler).__name__]
    write_object(folder / INDEX, index)
    write_object(folder / RECORD, plan.record.model_dump(mode="json"))
    (folder / "README.md").write_text(model_card(plan.base, plan.record), encoding="utf-8")


def stored_weights(transformer: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """What diffusers would save of the transformer, had it loaded it in ``dtype``."""
    return {
        name: tensor.to(torch.float32 if FLOAT32.intersection(name.split(".")) else dtype)
        for name, tensor in transformer.state_dict().items()
    }


def _forget_origin(config: Path) -> None:
    """Drop the path that diffusers records the weights to have come from: it says something of the machine, nothing of the model."""
    content = read_object(config)
    content.pop("_name_or_path", None)
    write_object(config, content)
