"""Carrying out ``distill sample``: which source, in which steps, into which files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import track

from distill_core.config.schema import Validation
from distill_core.errors import RunDirectoryError
from distill_core.plugins.discovery import discover
from distill_core.sampling_source import PixelSize, default_placement, open_source
from distill_core.validation import completed, slug
from distill_core.video import write_mp4


@dataclass(frozen=True)
class SampleOrder:
    """What was asked for on the command line; None leaves it to the source."""

    source: str
    output: Path
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int | None
    guidance_scale: float | None
    sampler: Literal["ode", "sde"] | None
    num_frames: int | None
    height: int | None
    width: int | None
    fps: float
    role: str | None
    step: int | None


def sample_videos(order: SampleOrder) -> Iterator[Path]:
    """Sample, and yield every mp4 file as it is written; captions.jsonl beside them says what each should show.

    Raises RunDirectoryError if the output folder holds captions.jsonl already: it belongs to other videos.
    """
    captions = order.output / "captions.jsonl"
    if captions.exists():
        raise RunDirectoryError(f"{captions} belongs to other videos; choose another --output")
    size = PixelSize(order.num_frames, order.height, order.width)
    source = open_source(order.source, discover(), order.role, size, default_placement(), step=order.step)
    request = source.request
    if order.steps is not None:
        request = replace(request, steps=order.steps, timesteps=None)
    if order.guidance_scale is not None:
        request = replace(request, guidance_scale=order.guidance_scale)
    if order.sampler is not None:
        request = replace(request, sampler=order.sampler)
    request = completed(replace(request, seeds=order.seeds, prompts=order.prompts), Validation(), ())
    order.output.mkdir(parents=True, exist_ok=True)
    videos = source.model.sampler.sample(source.role, request, source.latent_shape)
    total = len(order.prompts) * len(order.seeds)
    for index, video in enumerate(track(videos, "sampling", total=total, console=Console(stderr=True))):
        path = order.output / f"{index:04d}-{slug(video.prompt)}-seed{video.seed}.mp4"
        write_mp4(path, video.frames, order.fps)
        with captions.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"file_name": path.name, "caption": video.prompt}, ensure_ascii=False) + "\n")
        yield path
