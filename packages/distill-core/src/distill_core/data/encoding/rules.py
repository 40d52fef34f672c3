"""What clips are made into: their lengths, sizes and rate, checked against a model before any video is opened.

F pixel frames, H W pixel rows and columns, T latent frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from distill_core.errors import DataError
from distill_core.plugins.specs import ModelFacts

Size = tuple[int, int]
"""H and W in pixels."""
Hdr = Literal["tone-map", "refuse"]
"""What is done to a video of high dynamic range."""
DEFAULT_HDR: Hdr = "tone-map"


@dataclass(frozen=True)
class ClipShape:
    """What a clip may be made into.

    Attributes:
        frames: F; None keeps what each clip has.
        size: H and W; None keeps what each clip has.
    """

    frames: int | None = None
    size: Size | None = None


@dataclass(frozen=True)
class Grid:
    """The lengths and sizes that a model takes.

    Attributes:
        temporal_stride: pixel frames per latent frame; F - 1 is a multiple of it.
        frame_patch: latent frames per token; T is a multiple of it.
        row_multiple: H is a multiple of it.
        column_multiple: W is a multiple of it.
        max_frames: the largest F; 1 for pictures, None where only memory limits it.
    """

    temporal_stride: int
    frame_patch: int
    row_multiple: int
    column_multiple: int
    max_frames: int | None = field(default=None, repr=False)  # in no key: the shapes have what follows from it

    @classmethod
    def of(cls, facts: ModelFacts) -> Grid:
        """That of one model."""
        stride = facts.latent_space.spatial_stride
        frame_patch, row_patch, column_patch = facts.patch
        rows, columns = stride * row_patch, stride * column_patch
        return cls(facts.latent_space.temporal_stride, frame_patch, rows, columns, facts.max_frames)

    def longest(self, frames: int) -> int:
        """The largest F ≤ ``frames`` that will do, or 0."""
        frames = frames if self.max_frames is None else min(frames, self.max_frames)
        latent_frames = (frames - 1) // self.temporal_stride + 1 if frames else 0
        latent_frames -= latent_frames % self.frame_patch
        return (latent_frames - 1) * self.temporal_stride + 1 if latent_frames else 0

    def cropped(self, size: Size) -> Size:
        """The largest size within ``size`` that will do; 0 where none does."""
        return size[0] - size[0] % self.row_multiple, size[1] - size[1] % self.column_multiple

    def check_frames(self, option: str, frames: int) -> None:
        """Raise DataError, with the nearest values that will do, for an F that will not."""
        if self.max_frames is not None and frames > self.max_frames:
            raise DataError(f"{option} {frames} is more than the model takes; use {self.longest(frames)}")
        if self.longest(frames) != frames:
            step = self.temporal_stride * self.frame_patch
            lower = self.longest(frames) or (self.frame_patch - 1) * self.temporal_stride + 1
            raise DataError(f"{option} {frames} makes no whole number of latent frames; use {lower} or {lower + step}")

    def check_size(self, option: str, value: int, multiple: int) -> None:
        """Raise DataError, with the nearest values that will do, for an H or W that will not."""
        if value < multiple or value % multiple:
            lower = max(value // multiple * multiple, multiple)
            raise DataError(
                f"{option} {value} is no multiple of the model's {multiple} pixels; use {lower} or {lower + multiple}"
            )


@dataclass(frozen=True)
class ClipRules:
    """What every clip is made into. Made by :func:`clip_rules`, which checks it against a model.

    Attributes:
        grid: what the model takes.
        shapes: what a clip may be made into, at least one; it gets the size whose proportions are nearest to its own, and then the
            largest length that it fills.
        fps: frames per second; None keeps what each clip has.
        clips_per_video: so many clips at most are cut from one video, one after another.
        hdr: whether high dynamic range is brought to standard, or refused.
    """

    grid: Grid
    shapes: tuple[ClipShape, ...] = (ClipShape(),)
    fps: float | None = None
    clips_per_video: int = 1
    hdr: Hdr = DEFAULT_HDR

    def size_for(self, height: int, width: int) -> Size | None:
        """H and W that a picture of this size is scaled to and cropped to; None if it is cropped only."""

        def distance(size: Size) -> float:
            """How far the proportions of a size are from those of the picture."""
            return abs(math.log(size[0] / size[1] / (height / width)))

        sizes = [shape.size for shape in self.shapes if shape.size is not None]
        return min(sizes, key=lambda size: (distance(size), -size[0] * size[1])) if sizes else None

    def lengths(self, size: Size | None, picture: bool) -> tuple[int, ...] | None:
        """Every F that a clip of that size may have, the largest first; None keeps its own.

        Pictures have one frame. Videos are made into pictures only where there is nothing else to make them into.
        """
        frames = sorted({shape.frames for shape in self.shapes if shape.size == size and shape.frames}, reverse=True)
        if not frames:
            return None
        if picture:
            return tuple(length for length in frames if length == 1)
        return tuple(length for length in frames if length > 1) or tuple(frames)


def clip_rules(
    facts: ModelFacts,
    *,
    num_frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    fps: float | None = None,
    buckets: Sequence[tuple[int, int, int]] = (),
    clips_per_video: int = 1,
    hdr: Hdr = DEFAULT_HDR,
) -> ClipRules:
    """Rules for the clips of one model, from the options of `distill data encode`; ``buckets`` are F, H and W.

    Raises DataError, with the nearest values that will do, for any that will not.
    """
    grid = Grid.of(facts)
    if buckets and (num_frames, height, width) != (None, None, None):
        raise DataError("--bucket says frames, height and width; leave out --num-frames, --height and --width")
    if (height is None) != (width is None):
        raise DataError("--height and --width go together; give both, or none to keep the size of the videos")
    if clips_per_video > 1 and not buckets and num_frames is None:
        raise DataError("--clips-per-video needs to know how long a clip is; add --num-frames or --bucket")
    if buckets:
        for frames, rows, columns in buckets:
            grid.check_frames("--bucket: frames", frames)
            grid.check_size("--bucket: height", rows, grid.row_multiple)
            grid.check_size("--bucket: width", columns, grid.column_multiple)
        shapes = tuple(ClipShape(frames, (rows, columns)) for frames, rows, columns in dict.fromkeys(buckets))
        return ClipRules(grid, shapes, fps, clips_per_video, hdr)
    if num_frames is not None:
        grid.check_frames("--num-frames", num_frames)
    size = None
    if height is not None and width is not None:
        grid.check_size("--height", height, grid.row_multiple)
        grid.check_size("--width", width, grid.column_multiple)
        size = (height, width)
    return ClipRules(grid, (ClipShape(_frames(num_frames, grid), size),), fps, clips_per_video, hdr)


def _frames(num_frames: int | None, grid: Grid) -> int | None:
    """F of every clip: a model of pictures takes one, so nobody need ask for it."""
    return 1 if grid.max_frames == 1 else num_frames
