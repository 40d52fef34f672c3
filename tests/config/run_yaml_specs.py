"""Two model families and two methods that exist only as specs, with folders that exist only as facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from distill_core.errors import ModelFolderError
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.specs import Demands, LatentSpace, MethodSpec, ModelFacts, ModelSpec, Options, RoleNeed

SPACE = LatentSpace(channels=2, temporal_stride=4, spatial_stride=8, mean=(0.0, 0.0), std=(1.0, 1.0))
SMALL = ModelFacts(
    Path("small"), "a small one", SPACE, text_width=16, text_length=32, patch=(1, 2, 2), max_positions=(20, 20, 20)
)
FOLDERS = {
    "small": SMALL,
    "deep": replace(SMALL, patch=(2, 2, 2)),
    "wide": replace(SMALL, latent_space=replace(SPACE, channels=3)),
    "wordy": replace(SMALL, text_width=24, text_length=64),
    "shifted": replace(SMALL, latent_space=replace(SPACE, mean=(1.0, 0.0))),
}


def inspect(path: str) -> ModelFacts:
    """The facts of a folder of ``FOLDERS``."""
    if path == "explosive":
        raise ZeroDivisionError("the plugin's own fault")
    if path not in FOLDERS:
        raise ModelFolderError(f"{path} is no folder of pictures; name one of {', '.join(FOLDERS)}")
    return FOLDERS[path]


class Tiling(Options):
    """A mapping within the options."""

    rows: int = Field(2, ge=1)
    """Rows of a tile."""
    overlap: float = 0.25
    """Share of a tile."""

    def contradictions(self) -> Iterator[str]:
        """Overlaps that leave a tile nothing, or have nothing to overlap."""
        yield from super().contradictions()
        if self.overlap >= 1:
            yield "overlap leaves a tile nothing; set it below 1"
        if self.overlap and self.rows == 1:
            yield "one row overlaps nothing; set overlap: 0"


class PictureOptions(Options):
    """Options of the family."""

    flow_shift: float | None = Field(None, gt=0)
    """The shift."""
    sampler_kind: Literal["ode", "sde"] = "ode"
    """The sampler."""
    tiling: Tiling = Tiling()
    """How to tile."""


class Stripes(Options):
    """Another mapping, for a choice between two."""

    columns: int
    """Columns of a stripe."""


class TurboOptions(Options):
    """Options of the method."""

    denoising_steps: tuple[float, ...] = (999.0, 500.0)
    """Descending timesteps."""
    attn_kind: Literal["dense", "vsa"] = "dense"
    """The attention."""
    samples: int | Literal["all"] = "all"
    """How many."""
    tiles: Tiling | Literal["off"] = "off"
    """A mapping or a word."""
    cut: Tiling | Stripes | None = None
    """One of two mappings."""
    from_latents: bool = False
    """Whether to begin with latents."""

    @field_validator("tiles")
    @classmethod
    def _not_too_many(cls, tiles: Tiling | str) -> Tiling | str:
        if isinstance(tiles, Tiling) and tiles.rows > 9:
            raise PydanticCustomError("too_many", "Too many rows of tiles")
        return tiles

    @field_validator("denoising_steps")
    @classmethod
    def _descending(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        if list(steps) != sorted(set(steps), reverse=True):
            raise ValueError("the steps must descend; sort them from high to low")
        return steps


class NeedyOptions(Options):
    """Options without defaults."""

    width: int
    """The width."""


def _demands(options: TurboOptions) -> Demands:
    return Demands(latents=options.from_latents, attention={"student": (options.attn_kind,)})


CALLS = frozenset({"flow_shift", "predict"})
PICTURE = ModelSpec("picture", "pictures", PictureOptions, "run_yaml_specs:inspect", "nowhere:Model", CALLS)
SKETCH = replace(PICTURE, name="sketch", summary="sketches", operations=frozenset({"flow_shift"}))
NEEDY = replace(PICTURE, name="needy", summary="needs options", options=NeedyOptions)
LOST = ModelSpec("lost", "its code is not there", PictureOptions, "no_such_module:inspect", "nowhere:Model", CALLS)
TURBO = MethodSpec(
    "turbo",
    "one step",
    TurboOptions,
    "nowhere:Turbo",
    {
        "student": RoleNeed(trainable=True, operations=CALLS),
        "teacher": RoleNeed(trainable=False, operations=frozenset({"predict"})),
        "judge": RoleNeed(trainable=False, operations=frozenset({"predict"}), optional=True),
    },
    _demands,
)


def _broken_demands(options: Options) -> Demands:
    raise KeyError("demands")


BROKEN = replace(TURBO, name="broken", demands=_broken_demands)
INDEX = PluginIndex.of(models=(PICTURE, SKETCH, NEEDY, LOST), methods=(TURBO, BROKEN))
