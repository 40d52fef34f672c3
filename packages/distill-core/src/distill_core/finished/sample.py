"""Carrying out ``distill sample``: which source, in which steps, into which files. Knows no terminal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from distill_core.config.sampled import Validation, completed
from distill_core.errors import RunDirectoryError
from distill_core.finished.source import PixelSize, SamplingSource, default_placement, open_source
from distill_core.plugins.discovery import discover
from distill_core.plugins.specs import ModelFacts
from distill_core.printable import visible
from distill_core.protocols.validator import ValidationRequest
from distill_core.sampling.requests import check_pictures
from distill_core.sampling.stream_speed import StreamSpeed, Timed
from distill_core.sampling.validator import slug
from distill_core.training.answered import sampled
from distill_core.video.reading import read_picture
from distill_core.video.samples import write_sample


@dataclass(frozen=True)
class SampleOrder:
    """What was asked for on the command line; None leaves it to the source.

    ``listed`` are pictures that a file of prompts names, one for each prompt, by what they are; a model that is shown none passes them
    over.
    """

    source: str
    output: Path
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int | None
    timesteps: tuple[float, ...] | None
    negative_prompt: str | None
    guidance_scale: float | None
    low_noise_guidance_scale: float | None
    sampler: Literal["ode", "sde"] | None
    num_frames: int | None
    height: int | None
    width: int | None
    fps: float
    role: str | None
    step: int | None
    base: str | None = None
    blocks: int | None = None
    window: int | None = None
    sink: int | None = None
    first_frames: tuple[str, ...] | None = None
    last_frames: tuple[str, ...] | None = None
    listed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def shown_to(self, facts: ModelFacts) -> SampleOrder:
        """With the pictures that a model takes. Raises DataError where it cannot be shown what was given, or was given too little."""
        first, last = (
            self.listed.get(name) if given is None and name in facts.pictures else given
            for name, given in (("first_frame", self.first_frames), ("last_frame", self.last_frames))
        )
        check_pictures(facts, first, last, len(self.prompts), key="--image, --last-image", source="distill sample")
        return replace(self, first_frames=first, last_frames=last)

    @property
    def captions(self) -> Path:
        """The file beside the videos that says what each should show."""
        return self.output / "captions.jsonl"

    def applied_to(self, recorded: ValidationRequest) -> ValidationRequest:
        """The complete request: what was asked for, then what the source records, then the defaults of ``validation``."""
        asked = replace(
            recorded,
            prompts=self.prompts,
            seeds=self.seeds,
            first_frames=self.first_frames,
            last_frames=self.last_frames,
        )
        if self.timesteps is not None:
            asked = replace(asked, steps=None, timesteps=self.timesteps)
        elif self.steps is not None and self.steps != number_of_steps(recorded):
            asked = replace(asked, steps=self.steps, timesteps=None)
        if self.negative_prompt is not None:
            asked = replace(asked, negative_prompt=self.negative_prompt)
        if self.guidance_scale is not None:
            asked = replace(asked, guidance_scale=self.guidance_scale, low_noise_guidance_scale=None)
        if self.low_noise_guidance_scale is not None:
            asked = replace(asked, low_noise_guidance_scale=self.low_noise_guidance_scale)
        if self.sampler is not None:
            asked = replace(asked, sampler=self.sampler)
        if self.blocks is not None:
            asked = replace(asked, blocks=self.blocks, window=None, sink=0)
        if self.window is not None:
            asked = replace(asked, window=self.window)
        if self.sink is not None:
            asked = replace(asked, sink=self.sink)
        return completed(asked, Validation(), (), sparsity=0.0)

    def remarks(self, recorded: ValidationRequest, *, experts: bool = False) -> Iterator[str]:
        """What of the order is other than the model was trained for, or without effect."""
        full = self.applied_to(recorded)
        if recorded.timesteps is not None and full.timesteps != recorded.timesteps:
            listed = ", ".join(f"{timestep:g}" for timestep in recorded.timesteps)
            how = f"{full.steps} steps of the family's own schedule" if full.timesteps is None else "other timesteps"
            yield f"it was trained for the {len(recorded.timesteps)} timesteps {listed}, and is sampled in {how}"
        if _stream_of(full) != _stream_of(recorded):
            yield f"it was trained to be sampled {_stream_of(recorded)}, and is sampled {_stream_of(full)}"
        if self.low_noise_guidance_scale is not None and not experts:
            yield "--guidance-2 does nothing: the model has no second expert"
        if self.negative_prompt is not None and {full.guidance_scale, full.low_noise_guidance_scale} <= {1.0, None}:
            yield "--negative-prompt does nothing without guidance; a --guidance other than 1 gives it something to do"


def number_of_steps(recorded: ValidationRequest) -> int | None:
    """In how many steps a source says that it is sampled; None if it does not."""
    return recorded.steps if recorded.timesteps is None else len(recorded.timesteps)


def _stream_of(request: ValidationRequest) -> str:
    """How much of a clip is made at once, and on what."""
    if request.blocks is None:
        return "whole"
    seen = "" if request.window is None else f" that see {request.window} before them and the first {request.sink}"
    return f"by blocks of {request.blocks} latent frames{seen}"


@dataclass
class Sampling:
    """An order whose model is loaded.

    Attributes:
        order: what was asked for.
        source: what is sampled.
        request: how, complete.
        timed: how long each video took that was made so far.
    """

    order: SampleOrder
    source: SamplingSource
    request: ValidationRequest
    timed: list[Timed] = field(default_factory=list)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of the order before it is carried out."""
        idle = [name.replace("_", " ") for name in self.order.listed if name not in self.source.facts.pictures]
        unshown = [f"the file of prompts names a {name} of each, and this model is shown none" for name in idle]
        return (
            *self.order.remarks(self.source.request, experts=self.source.facts.boundary is not None),
            *unshown,
            *self._scaled(),
        )

    def _scaled(self) -> Iterator[str]:
        """Pictures of another ratio than the videos have: they are stretched, as the family's own pipeline does."""
        space, (_, _, H, W) = self.source.facts.latent_space, self.source.latent_shape
        height, width = H * space.spatial_stride, W * space.spatial_stride
        for file in dict.fromkeys((*(self.request.first_frames or ()), *(self.request.last_frames or ()))):
            rows, columns, _ = read_picture(Path(file)).shape
            if rows * width != columns * height:
                yield f"{file}, of {columns}×{rows} pixels, is stretched to {width}×{height}; crop it to keep its shape"

    def _shown(self, index: int) -> dict[str, str]:
        """What the video at ``index`` was made of besides its prompt, by the names that captions files have for it."""
        which = index // len(self.request.seeds or (0,))
        shown = {"first_frame": self.request.first_frames, "last_frame": self.request.last_frames}
        return {name: os.path.abspath(files[which]) for name, files in shown.items() if files is not None}

    @property
    def speed(self) -> StreamSpeed | None:
        """How fast the videos came that were made so far, where they are made by blocks."""
        return StreamSpeed.of(self.timed)

    def write_videos(self) -> Iterator[Path]:
        """Sample, and yield every file once it is written; captions.jsonl grows beside them."""
        self.order.output.mkdir(parents=True, exist_ok=True)
        videos = sampled(self.source.model.sampler, self.source.role, self.request, self.source.latent_shape)
        for index, video in enumerate(videos):
            self.timed.append((len(video.frames), video.times))
            place = self.order.output / f"{index:04d}-{slug(video.prompt)}-seed{video.seed}"
            path = write_sample(place, video.frames, self.order.fps)
            with self.order.captions.open("a", encoding="utf-8") as file:
                record = {"file_name": path.name, "caption": video.prompt, **self._shown(index)}
                file.write(visible(json.dumps(record, ensure_ascii=False)) + "\n")
            yield path


def load(order: SampleOrder) -> Sampling:
    """Find and load what is to be sampled.

    Raises RunDirectoryError, before that, if the output folder holds captions.jsonl already: it belongs to other videos. Raises
    DistillError for a source that cannot be sampled as ordered.
    """
    if order.captions.exists():
        raise RunDirectoryError(f"{order.captions} belongs to other videos; name another folder with --output")
    size = PixelSize(order.num_frames, order.height, order.width)
    shown: list[SampleOrder] = []
    source = open_source(
        order.source,
        discover(),
        order.role,
        size,
        default_placement(),
        lambda request: (*shown, order)[0].applied_to(request),
        step=order.step,
        base=order.base,
        fits=lambda facts: shown.append(order.shown_to(facts)),
    )
    return Sampling(shown[0], source, shown[0].applied_to(source.request))
