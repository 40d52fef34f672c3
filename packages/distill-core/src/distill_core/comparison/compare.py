"""Sampling every row of a comparison, measuring it, and writing the table and the page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill_core.comparison.page import PageClip, write_page
from distill_core.comparison.table import ComparedLine, ComparisonTable
from distill_core.config.sampled import ComparedRow, Comparison, Validation, completed
from distill_core.errors import ConfigError, PeerError, Problem
from distill_core.plugins.specs import LatentSpace
from distill_core.protocols.model import Sampler
from distill_core.protocols.tracker import Tracker
from distill_core.protocols.validator import SampledVideo, ValidationRequest
from distill_core.ranks.ranks import ALONE, Ranks
from distill_core.sampling.measures import Measures
from distill_core.sampling.side_by_side import SideBySide
from distill_core.sampling.stream_speed import StreamSpeed
from distill_core.sampling.validator import distinct_slugs, slug
from distill_core.stopping import Stopping
from distill_core.tracking.events import Events
from distill_core.tracking.progress import Progress
from distill_core.training.roles import RoleHandle
from distill_core.video.samples import write_sample

LatentShape = tuple[int, int, int, int]
"""[T, C, H, W] of a sample."""


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
    if row.blocks is not None:
        request = replace(request, blocks=row.blocks, window=None, sink=0)
    if row.window is not None:
        request = replace(request, window=row.window)
    if row.sink is not None:
        request = replace(request, sink=row.sink)
    return request if row.sampler is None else replace(request, sampler=row.sampler)


def evenly(videos: Sequence[SampledVideo], count: int) -> list[SampledVideo]:
    """``count`` of the videos, or all, from all over: the first ones are all of the first prompts."""
    count = min(count, len(videos))
    return [videos[index * len(videos) // count] for index in range(count)]


def shape_of(row: ComparedRow, shape: LatentShape, space: LatentSpace) -> LatentShape:
    """[T, C, H, W] of a row's clips, of a run that samples at ``shape``. Raises ConfigError for frames that are no whole latent ones."""
    if row.num_frames is None:
        return shape
    frames = space.latent_frames(row.num_frames)
    if frames is None:
        near = space.whole_frames(row.num_frames)
        message = f"{row.num_frames} is not 1 more than a multiple of {space.temporal_stride}; try {near}"
        raise ConfigError([Problem("comparison.rows", message)])
    return (frames, *shape[1:])


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
        latent_shape: LatentShape,
        space: LatentSpace,
        measures: Measures,
        folder: Path,
        *,
        sparsity: float,
        key: Mapping[str, Any],
        tracker: Tracker,
        events: Events,
        progress: Progress,
        stopping: Stopping,
        ranks: Ranks = ALONE,
    ) -> None:
        self.settings = settings
        self.slugs = distinct_slugs(settings.rows)
        self.validation = validation
        self.prompts = prompts
        self.roles = roles
        self.latent_shape = latent_shape
        self.space = space
        self.measures = measures
        self.folder = folder
        self.page = folder / "index.html"
        self.sparsity = sparsity
        self.key = key
        self.tracker = tracker
        self.events = events
        self.progress = progress
        self.stopping = stopping
        self.ranks = ranks
        self.sampling = SideBySide(sampler, ranks, stopping)

    def run(self, step: int, own: ValidationRequest | None, title: str) -> ComparisonTable:
        """The table of this step, made, and told to the tracker, unless it is there already. ``own``: how the method samples its result.

        Raises StopSignal in the middle of sampling and measuring if the process is asked to leave: the next one compares anew.
        """
        path = self.folder / "table.json"
        found = self.ranks.from_first(
            lambda: ComparisonTable.read(path, step, self.key, self.measures.headline, self.events)
        )
        if found is not None:
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        lines: list[ComparedLine] = []
        clips: dict[str, list[PageClip]] = {}
        for index, (name, row) in enumerate(self.settings.rows.items(), 1):
            with self.progress.aside(f"comparing {index}/{len(self.settings.rows)}: {name}"):
                with self.stopping.at_once():
                    line, videos = self._sampled(name, row, request_of(row, own))
                lines.append(line)
                clips[name] = self._written(name, evenly(videos, self.settings.page_clips))
        table = ComparisonTable(step, self.key, self.measures.headline, tuple(lines))
        write_page(self.page, title, table, clips)
        for line in lines:
            self.tracker.log({f"comparison/{line.name}/{name}": value for name, value in line.figures.items()}, step)
        self.tracker.file(self.page, "comparison.html")
        table.write(path)
        return table

    def help(self, own: ValidationRequest | None) -> None:
        """The part in :meth:`run` of a rank that is not the first."""
        done: ComparisonTable | None = self.ranks.from_first(lambda: None)
        for row in self.settings.rows.values() if done is None else ():
            with self.stopping.at_once():
                self._videos(row, request_of(row, own))

    def _videos(self, row: ComparedRow, request: ValidationRequest) -> tuple[str, list[SampledVideo]]:
        """The role that is sampled, and its videos, on the first rank."""
        seeds = tuple(range(self.settings.first_seed, self.settings.first_seed + self.settings.clips_per_prompt))
        full = completed(
            replace(
                request,
                seeds=seeds,
                prompts=self.prompts,
                first_frames=self.settings.first_frames,
                last_frames=self.settings.last_frames,
                noise="own",
            ),
            self.validation,
            (),
            self.sparsity,
        )
        role, shape = self.roles[full.role], shape_of(row, self.latent_shape, self.space)
        with role.averaged():
            videos = list(self.sampling.videos(role, full, shape))
        if self.sampling.broken_off:
            self.stopping.check()
            raise PeerError("another process was asked to leave", told=True)
        return full.role, videos

    def _sampled(
        self, name: str, row: ComparedRow, request: ValidationRequest
    ) -> tuple[ComparedLine, Sequence[SampledVideo]]:
        began = time.monotonic()
        role, videos = self._videos(row, request)
        seconds, speed = (
            (time.monotonic() - began) / len(videos),
            StreamSpeed.of((len(video.frames), video.times) for video in videos),
        )
        line = ComparedLine(
            name=name,
            role=role,
            clips=len(videos),
            evaluations=sum(video.evaluations for video in videos) / len(videos),
            seconds_per_clip=seconds,
            figures=self._measures_of(name, shape_of(row, self.latent_shape, self.space)).figures(videos, self.events),
            first_block_seconds=None if speed is None else speed.first_block_seconds,
            frames_per_second=None if speed is None else speed.frames_per_second,
        )
        return line, videos

    def _measures_of(self, name: str, shape: LatentShape) -> Measures:
        """The metrics that can measure a row's clips; what others say of clips of its size is told."""
        if shape == self.latent_shape:
            return self.measures

        def tell(reason: str) -> None:
            """To the log, and to who watches."""
            self.events.note("metric_left_out", f"row {name!r}: {reason}")
            self.progress.say(f"row {name!r} is measured without a metric: {reason}")

        return self.measures.fitting(self.prompts, self.space.pixels(shape), tell)

    def _written(self, name: str, videos: Sequence[SampledVideo]) -> list[PageClip]:
        written: list[PageClip] = []
        for index, video in enumerate(videos):
            place = self.folder / "clips" / self.slugs[name] / f"{index:02d}-{slug(video.prompt)}-seed{video.seed}"
            path = write_sample(place, video.frames, self.validation.fps)
            written.append(PageClip(video.prompt, video.seed, path))
        return written
