"""The toy family's spec: a "model" whose folder is one JSON file. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from distill_core.errors import ModelFolderError
from distill_core.plugins.lora import LoraSupport
from distill_core.plugins.specs import LatentSpace, ModelFacts, ModelSpec, Options
from distill_core.protocols.adapter import OPERATIONS, PICTURES
from distill_core.protocols.validator import ValidationRequest

HIDDEN = 16
"""Features of the denoiser's one hidden layer."""
TEXT_WIDTH = 4
TEXT_LENGTH = 8


class ToyOptions(Options):
    """``pipeline_config`` of the toy family."""

    flow_shift: float = 1.0
    """Timestep shift."""
    sampler_kind: Literal["ode", "sde"] = "ode"
    """Sampler of a request that names none."""


def write_toy_model(folder: Path, *, seed: int = 0, channels: int = 2) -> Path:
    """A toy model's folder; its weights follow from ``seed``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.json").write_text(json.dumps({"seed": seed, "channels": channels}), encoding="utf-8")
    return folder


def inspect(path: str) -> ModelFacts:
    """The facts of a toy folder. Raises ModelFolderError for any other."""
    file = Path(path) / "toy.json"
    if not file.is_file():
        raise ModelFolderError(f"{path} is no toy model: {file} is missing")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFolderError(f"{file} is no JSON: {error}") from error
    channels, record = int(content["channels"]), content.get("sampling")
    space = LatentSpace(channels, temporal_stride=4, spatial_stride=4, mean=(0.5,) * channels, std=(2.0,) * channels)
    return ModelFacts(
        path=Path(path),
        summary=f"toy, {channels} channels",
        latent_space=space,
        text_width=TEXT_WIDTH,
        text_length=TEXT_LENGTH,
        patch=(1, 1, 1),
        max_positions=(64, 64, 64),
        sampling=None if record is None else _recorded(record),
        latent_shape=None if record is None else tuple(content["latent_shape"]),
        feature_width=HIDDEN,
        layers=1,
    )


def _linear_layers(facts: ModelFacts) -> dict[str, tuple[int, int]]:
    channels = facts.latent_space.channels
    return {"denoiser.layers.0": (HIDDEN, 2 * channels + 2 + TEXT_WIDTH), "denoiser.layers.2": (channels, HIDDEN)}


def _recorded(record: Mapping[str, Any]) -> ValidationRequest:
    timesteps = record["timesteps"]
    return ValidationRequest("", **{**record, "timesteps": None if timesteps is None else tuple(timesteps)})


TOY = ModelSpec(
    name="toy",
    summary="a model of a few weights, for tests",
    options=ToyOptions,
    inspect="distill_core.testing.toy_spec:inspect",
    build="distill_core.testing.toy:ToyModel",
    operations=frozenset(OPERATIONS) - frozenset(PICTURES),
    attention=("dense", "vsa"),
    latent_spaces=("toy",),
    lora=LoraSupport(
        targets={"attention": ("layers.0",), "attention+mlp": ("layers.*",)},
        layers=_linear_layers,
        files="distill_core.testing.toy_lora:ToyLoraFiles",
    ),
)
