"""A trained role as a folder of the ecosystem: a pipeline that plain diffusers loads and samples as the role was sampled.

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
from diffusers import ClassifierFreeGuidance
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn

import distill_core
from distill_core.errors import RunDirectoryError
from distill_core.flow import denoising_grid, shifted_uniform_grid
from distill_core.protocols import ValidationRequest
from distill_core.protocols.validator import SamplerKind
from distill_diffusers.copied_part import copy_licences, copy_part
from distill_diffusers.export_faults import guidance_of
from distill_diffusers.export_record import STREAMED, ExportRecord, RecordedSampling, RecordedVsa, write_record
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.few_step_grid import few_step_scheduler
from distill_diffusers.json_files import INDEX, read_object, write_object
from distill_diffusers.model_card import PipelineCall, model_card
from distill_diffusers.own_steps import OwnSteps
from distill_diffusers.pipeline_folder import GUIDER
from distill_diffusers.quiet import quietly
from distill_diffusers.schedule import Schedule
from distill_diffusers.schedulers import flow_shift_of, many_step_scheduler
from distill_diffusers.streamed_card import streamed_card


@dataclass(frozen=True)
class ExportPlan:
    """Everything about an export that is settled before anything is written.

    Attributes:
        base: the folder that the role started from.
        scheduler: the diffusers scheduler that samples the export. ``Any``: diffusers' schedulers have no common type.
        record: what distill.json will say.
        call: what the card says of the family.
        dtype: what the denoisers' weights are stored in, but for ``float32``.
        float32: names within a weight's name whose weights are stored in float32 whatever the dtype, as diffusers loads them.
    """

    base: DiffusersFacts
    scheduler: Any
    record: ExportRecord
    call: PipelineCall
    dtype: torch.dtype
    float32: frozenset[str]

    @property
    def streamed(self) -> bool:
        """Whether it makes clips block by block, which no pipeline of diffusers does."""
        return self.record.sampling is not None and self.record.sampling.blocks is not None


@dataclass(frozen=True)
class Conditions:
    """What an export was trained under.

    Attributes:
        latent_shape: [T, C, H, W].
        text_length: the padded text length.
        flow_shift: the run's, or None where it depends on the latents' size.
        sampling_shift: that of sampling in a number of steps, where it is another.
        negative_prompt: what guidance leads away from, where the request does not say.
        vsa: its sparse attention, if it has any.
        told_guidance: the guidance scale that the denoiser is told, if it is told one.
    """

    latent_shape: tuple[int, int, int, int]
    text_length: int
    flow_shift: float | None
    sampling_shift: float | None = None
    negative_prompt: str = ""
    vsa: RecordedVsa | None = None
    told_guidance: float | None = None

    @property
    def shift(self) -> float | None:
        """Of sampling in a number of steps."""
        return self.flow_shift if self.sampling_shift is None else self.sampling_shift


def plan_sampling(
    base: DiffusersFacts,
    request: ValidationRequest,
    kind: SamplerKind,
    schedule: Schedule,
    conditions: Conditions,
    own_steps: OwnSteps | None = None,
) -> tuple[Any, ExportRecord]:
    """The scheduler that samples the export, and what its record says, of a request that :func:`export_faults` finds no fault with.

    Raises ModelFolderError for a grid that follows from the size of the latents and cannot be made.
    """
    guidance, low_noise = guidance_of(base, request)
    base_scheduler = base.folder.scheduler
    if own_steps is not None:
        grid, steps = _own_grid(request)
        scheduler = own_steps.scheduler()
    elif request.timesteps is None and kind == "ode":
        assert request.steps is not None
        grid, steps = None, request.steps
        scheduler = many_step_scheduler(base_scheduler, conditions.shift)
    else:
        grid = _grid(base, request, conditions)
        steps = len(grid)
        if request.blocks is None:
            scheduler = few_step_scheduler(grid, schedule.asks, stochastic=kind == "sde")
        else:  # distill walks any grid by itself
            scheduler = many_step_scheduler(base_scheduler, conditions.shift)
    negative = conditions.negative_prompt if request.negative_prompt is None else request.negative_prompt
    sampling = RecordedSampling(
        sampler=kind,
        steps=steps,
        timesteps=grid,
        guidance_scale=guidance,
        low_noise_guidance_scale=low_noise,
        negative_prompt=negative,
        vsa=conditions.vsa,
        blocks=request.blocks,
        window=request.window,
        sink=request.sink,
    )
    record = ExportRecord(
        distill_version=distill_core.__version__,
        diffusers_version=version("diffusers"),
        text_length=conditions.text_length,
        flow_shift=conditions.flow_shift,
        sampling_shift=conditions.sampling_shift,
        told_guidance=conditions.told_guidance,
        sampling=sampling,
        latent_shape=conditions.latent_shape,
        base_scheduler=base_scheduler,
    )
    return scheduler, record


def _grid(base: DiffusersFacts, request: ValidationRequest, conditions: Conditions) -> tuple[float, ...]:
    if request.timesteps is not None:
        return denoising_grid(request.timesteps)
    assert request.steps is not None
    shift = conditions.shift
    if shift is None:
        shift = flow_shift_of(base, conditions.latent_shape, request.steps)
    return shifted_uniform_grid(request.steps, shift)


def _own_grid(request: ValidationRequest) -> tuple[tuple[float, ...] | None, int]:
    """The timesteps that are asked for, if they are, and how many."""
    if request.timesteps is not None:
        grid = denoising_grid(request.timesteps)
        return grid, len(grid)
    assert request.steps is not None
    return None, request.steps


def write_export(modules: Mapping[str, nn.Module], plan: ExportPlan, output: Path) -> None:
    """Write the pipeline folder. Raises RunDirectoryError if ``output`` is there and not empty."""
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise RunDirectoryError(f"{output} already holds something; name another folder for the export, or remove it")
    for part in plan.base.folder.lent:
        plan.base.folder.fetch(part)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as beside:
        folder = Path(beside) / "export"
        folder.mkdir()
        _write_parts(modules, plan, folder)
        os.replace(folder, output)


def _write_parts(modules: Mapping[str, Any], plan: ExportPlan, folder: Path) -> None:
    for name, module in modules.items():
        module.save_config(folder / name)
        save_torch_state_dict(
            stored_weights(module, plan.dtype, plan.float32),
            folder / name,
            filename_pattern="diffusion_pytorch_model{suffix}.safetensors",
            max_shard_size="10GB",
        )
        _forget_origin(folder / name / "config.json")
    for part in plan.base.folder.lent:
        copy_part(plan.base.path / part, folder / part)
    copy_licences(plan.base.path, folder)
    plan.scheduler.save_pretrained(folder / "scheduler")
    guider = _guider(plan)
    if guider is not None:
        guider.save_pretrained(folder / GUIDER)
    index = read_object(plan.base.path / INDEX)
    index.pop("_name_or_path", None)
    written = {"scheduler": plan.scheduler, **({} if guider is None else {GUIDER: guider})}
    index |= {name: ["diffusers", type(part).__name__] for name, part in written.items()}
    library = STREAMED if plan.streamed else "diffusers"
    index |= {name: [library, type(module).__name__] for name, module in modules.items()}
    write_object(folder / INDEX, index)
    write_record(folder, plan.record)
    (folder / "README.md").write_text(_card(plan), encoding="utf-8")


def _guider(plan: ExportPlan) -> ClassifierFreeGuidance | None:
    """What guides as the export was sampled, of a pipeline that has a part for it."""
    if not plan.call.guider:
        return None
    sampling = plan.record.sampling
    with quietly():
        return ClassifierFreeGuidance(guidance_scale=1.0 if sampling is None else sampling.guidance_scale)


def _card(plan: ExportPlan) -> str:
    if plan.streamed:
        return streamed_card(plan.base, plan.record, plan.call.family)
    return model_card(plan.base, plan.record, plan.call)


def stored_weights(denoiser: nn.Module, dtype: torch.dtype, float32: frozenset[str]) -> dict[str, Tensor]:
    """What diffusers would save of the denoiser, had it loaded it in ``dtype``."""
    return {
        name: tensor.to(torch.float32 if float32.intersection(name.split(".")) else dtype)
        for name, tensor in denoiser.state_dict().items()
    }


def _forget_origin(config: Path) -> None:
    """Drop the path that diffusers records the weights to have come from: it says something of the machine, nothing of the model."""
    content = read_object(config)
    content.pop("_name_or_path", None)
    write_object(config, content)
