"""What ``distill sample`` samples: a run directory, or any pipeline folder of an installed family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from distill_core.errors import ConfigError, ModelFolderError, Problem
from distill_core.finished.restore import Asked, anything, as_told, refuse_asked, restore_role
from distill_core.plugins.answers import completed_options
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.loading import make_target
from distill_core.plugins.recognition import NO_SOURCE, recognised
from distill_core.plugins.specs import LatentSpace, ModelFacts
from distill_core.protocols.model import ModelPlugin, ModelRequest
from distill_core.protocols.validator import ValidationRequest
from distill_core.running.preparation import LatentShape, Placement
from distill_core.running.run_directory import RunDirectory
from distill_core.sampling.requests import misfit
from distill_core.training.answered import loaded_modules
from distill_core.training.roles import RoleHandle

DENOISER = "denoiser"
"""The name of the only role there is when a folder is sampled."""


@dataclass(frozen=True)
class PixelSize:
    """A video's size, as far as it was asked for."""

    num_frames: int | None = None
    height: int | None = None
    width: int | None = None


@dataclass(frozen=True)
class SamplingSource:
    """Ready to sample.

    Attributes:
        role: what denoises.
        model: its family.
        request: how it is to be sampled, where nothing else is asked for.
        latent_shape: [T, C, H, W].
        facts: its folder.
    """

    role: RoleHandle
    model: ModelPlugin
    request: ValidationRequest
    latent_shape: LatentShape
    facts: ModelFacts


def open_source(
    source: str,
    index: PluginIndex,
    role: str | None,
    size: PixelSize,
    placement: Placement,
    asked: Asked = as_told,
    *,
    step: int | None,
    base: str | None = None,
    fits: Callable[[ModelFacts], None] = anything,
) -> SamplingSource:
    """A run directory's role, or a folder's (or hub id's) denoiser, loaded for what is ``asked`` of it.

    ``fits`` may refuse the model before its weights are loaded. Raises DistillError for anything else, and for what the model cannot be
    asked.
    """
    if RunDirectory(Path(source)).resolved_yaml.is_file():
        restored = restore_role(
            Path(source), index, role, step=step, averaged=True, placement=placement, base=base, asked=asked, fits=fits
        )
        shape = sized(restored.latent_shape, size, restored.facts)
        return SamplingSource(restored.role, restored.model, restored.sampling, shape, restored.facts)
    spec, facts = recognised(source, index, NO_SOURCE)[0]
    refuse_of_a_folder(source, {"--role": role, "--step": step, "--base": base})
    fits(facts)
    options = completed_options(spec, facts, spec.options())
    owner = f"model {spec.name!r}"
    model: ModelPlugin = make_target(spec.build, owner, facts, options, placement.device, placement.compute)
    request = ValidationRequest(role=DENOISER) if facts.sampling is None else replace(facts.sampling, role=DENOISER)
    fault = misfit(request, spec, request.parts, facts.lacks)
    if fault is not None:
        raise ModelFolderError(f"{source} records how it is to be sampled, and cannot be: {fault}")
    operations = asked(request).parts
    refuse_asked(asked(request), spec, operations, facts.lacks)
    modules = loaded_modules(
        spec.name,
        model,
        ModelRequest(
            facts,
            trainable=False,
            weights_dtype=placement.compute,
            attention=(request.attn_kind,),
            operations=operations,
        ),
    )
    shape = sized(facts.latent_shape, size, facts)
    handle = RoleHandle(DENOISER, modules, model.adapter, trainable=False, family=spec.name, latent_shape=shape)
    return SamplingSource(handle, model, request, shape, facts)


def refuse_of_a_folder(source: str, asked: Mapping[str, object]) -> None:
    """Raise ConfigError for options that only a run directory can answer; None is not asked for."""
    idle = [name for name, value in asked.items() if value is not None]
    if idle:
        message = f"{source} is no run directory, and only that has roles and checkpoints; leave this out"
        raise ConfigError([Problem(name, message) for name in idle], "distill sample")


def sized(known: LatentShape | None, size: PixelSize, facts: ModelFacts) -> LatentShape:
    """:func:`asked_shape`; a model of pictures need not be asked for one frame. Raises ConfigError where the model cannot have it."""
    if facts.max_frames == 1 and size.num_frames is None:
        size = replace(size, num_frames=1)
    T, C, H, W = asked_shape(known, size, facts.latent_space)
    if misfit := facts.misfit((C, T, H, W)):
        raise ConfigError([Problem("", f"this size does not fit the model: {misfit}")], "distill sample")
    return T, C, H, W


def asked_shape(known: LatentShape | None, size: PixelSize, space: LatentSpace) -> LatentShape:
    """The latent shape of a size in pixels; what was not asked for is taken from ``known``. Raises ConfigError where neither says."""
    asked = {
        "--num-frames": None if size.num_frames is None else _latent_frames(size.num_frames, space),
        "--height": None if size.height is None else _latent_size(size.height, "--height", space),
        "--width": None if size.width is None else _latent_size(size.width, "--width", space),
    }
    if known is not None:
        T, C, H, W = known
        return (asked["--num-frames"] or T, C, asked["--height"] or H, asked["--width"] or W)
    missing = [name for name, value in asked.items() if value is None]
    if missing:
        raise ConfigError(
            [Problem("", f"this folder does not say what size to sample; give {', '.join(missing)}")], "distill sample"
        )
    T, H, W = (value for value in asked.values() if value is not None)
    return (T, space.channels, H, W)


def _latent_frames(num_frames: int, space: LatentSpace) -> int:
    latent_frames = space.latent_frames(num_frames)
    if latent_frames is None:
        nearest = space.whole_frames(max(1, num_frames))
        raise ConfigError(
            [
                Problem(
                    "--num-frames",
                    f"{num_frames} is not 1 more than a multiple of {space.temporal_stride}; try {nearest}",
                )
            ],
            "distill sample",
        )
    return latent_frames


def _latent_size(pixels: int, name: str, space: LatentSpace) -> int:
    size = space.latent_size(pixels)
    if size is None:
        raise ConfigError([Problem(name, f"{pixels} is not a multiple of {space.spatial_stride}")], "distill sample")
    return size


def default_placement() -> Placement:
    """The GPU in bf16 if there is one, the CPU in fp32 otherwise."""
    if torch.cuda.is_available():
        return Placement(torch.device("cuda"), torch.bfloat16)
    return Placement(torch.device("cpu"), torch.float32)
