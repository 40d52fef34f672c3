"""Sampling every row of a comparison, measuring it, and writing the table and the page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill_core.comparison.page import PageClip, write_page
from distill_core.comparison.table import ComparedLine, ComparisonTable
from distill_core.config.schema import ComparedRow, Comparison, Validation
from distill_core.protocols.model import Sampler
from distill_core.protocols.tracker import Tracker
from distill_core.protocols.validator import SampledVideo, ValidationRequest
from distill_core.sampling.measures import Measures
from distill_core.sampling.validator import completed, distinct_slugs, slug
from distill_core.stopping import Stopping
from distill_core.tracking.events import Events
from distill_core.tracking.progress import Progress
from distill_core.training.roles import RoleHandle
from distill_core.video.samples import write_sample


def request_of(row: ComparedRow, own: ValidationRequest | None) -> ValidationRequest:
    """A row as a request: what it leaves null is as the method itself samples that role (``own``), if it does."""
    request = own if own is not None and own.role == row.role else ValidationRequest(row.role)
    if row.steps is not None or row.timesteps is not None:
        request = replace(request, steps=row.steps, timesteps=row.timesteps)
    if row.guidance_scale is not None:
        request = replace(request, guidance_scale=row.guidance_scale)
    if row.low_noise_guidance_scale is not None:
        request = replace(request, low_noise_guidance_scale=row.low_noise_guidance_scale)
    if row.attn_kind is not None:
        request = replace(request, attn_kind=row.attn_kind)
    if row.sparsity is not None:
        request = replace(request, sparsity=row.sparsity)
    return request if row.sampler is None else replace(request, sampler=row.sampler)


def evenly(videos: Sequence[SampledVideo], count: int) -> list[SampledVideo]:
    """``count`` of the videos, or all, from all over: the first ones are all of the first prompts."""
    count = min(count, len(videos))
    return [videos[index * len(videos) // count] for index in range(count)]


class Comparer:
    """Carries out the ``comparison`` section of one run.

    Attributes:
        page: where the page goes.
    """

    def __init__(
        self,
        settings: Comparison,
        validation: Validation,
        prompts: tuple[str, ...],
        sampler: Sampler,
        roles: Mapping[str, RoleHandle],
        latent_shape: tuple[int, int, int, int],
        measures: Measures,
        folder: Path,
        *,
        sparsity: float,
        key: Mapping[str, Any],
        tracker: Tracker,
        events: Events,
        progress: Progress,
        stopping: Stopping,
    ) -> None:
        self.settings = settings
        self.slugs = distinct_slugs(settings.rows)
        self.validation = validation
        self.prompts = prompts
        self.sampler = sampler
        self.roles = roles
        self.latent_shape = latent_shape
        self.measures = measures
        self.folder = folder
        self.page = folder / "index.html"
        self.sparsity = sparsity
        self.key = key
        self.tracker = tracker
        self.events = events
        self.progress = progress
        self.stopping = stopping

    def run(self, step: int, own: ValidationRequest | None, title: str) -> ComparisonTable:
        """The table of this step, made, and told to the tracker, unless it is there already. ``own``: how the method samples its result.

        Raises StopSignal in the middle of sampling and measuring if the process is asked to leave: the next one compares anew.
        """
        path = self.folder / "table.json"
        found = ComparisonTable.read(path, step, self.key, self.measures.headline, self.events)
        if found is not None:
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        lines: list[ComparedLine] = []
        clips: dict[str, list[PageClip]] = {}
        for index, (name, row) in enumerate(self.settings.rows.items(), 1):
            with self.progress.aside(f"comparing {index}/{len(self.settings.rows)}: {name}"):
                with self.stopping.at_once():
                    line, videos = self._sampled(name, request_of(row, own))
                lines.append(line)
                clips[name] = self._written(name, evenly(videos, self.settings.page_clips))
        table = ComparisonTable(step, self.key, self.measures.headline, tuple(lines))
        write_page(self.page, title, table, clips)
        for line in lines:
            self.tracker.log({f"comparison/{line.name}/{name}": value for name, value in line.figures.items()}, step)
        self.tracker.file(self.page, "comparison.html")
        table.write(path)
        return table

    def _sampled(self, name: str, request: ValidationRequest) -> tuple[ComparedLine, Sequence[SampledVideo]]:
        seeds = tuple(range(self.settings.first_seed, self.settings.first_seed + self.settings.clips_per_prompt))
        full = completed(
            replace(request, seeds=seeds, prompts=self.prompts, noise="own"), self.validation, (), self.sparsity
        )
        role = self.roles[full.role]
        began = time.monotonic()
        with role.averaged():
            videos = list(self.sampler.sample(role, full, self.latent_shape))
        seconds = (time.monotonic() - began) / len(videos)
        line = ComparedLine(
            name=name,
            role=full.role,
            clips=len(videos),
            evaluations=sum(video.evaluations for video in videos) / len(videos),
            seconds_per_clip=seconds,
            figures=self.measures.figures(videos, self.events),
        )
        return line, videos

    def _written(self, name: str, videos: Sequence[SampledVideo]) -> list[PageClip]:
        written: list[PageClip] = []
        for index, video in enumerate(videos):
            place = self.folder / "clips" / self.slugs[name] / f"{index:02d}-{slug(video.prompt)}-seed{video.seed}"
            path = write_sample(place, video.frames, self.validation.fps)
            written.append(PageClip(video.prompt, video.seed, path))
        return written
