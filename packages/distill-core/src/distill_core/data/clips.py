"""From a video file to the frames that a model can encode: rate, length, size. What was changed is said in words.

Shapes: F frames, H W pixel rows and columns, uint8 [F, H, W, 3]; T latent frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from distill_core.errors import DataError
from distill_core.plugins.specs import ModelFacts
from distill_core.video import TimedFrame, frame_rate, iterate_frames

CLOCK_TOLERANCE = 1e-3
"""Seconds by which a time stamp may be off: Matroska and others round to milliseconds."""


@dataclass(frozen=True)
class ClipRules:
    """What every clip is made into. Made by :func:`clip_rules`, which checks it against a model.

    Attributes:
        temporal_stride: pixel frames per latent frame; F - 1 is a multiple of it.
        frame_patch: latent frames per token; T is a multiple of it.
        row_multiple: H is a multiple of it.
        column_multiple: W is a multiple of it.
        num_frames: F of every clip; None keeps what each clip has.
        size: H and W of every clip; None keeps what each clip has.
        fps: frames per second; None keeps what each clip has.
    """

    temporal_stride: int
    frame_patch: int
    row_multiple: int
    column_multiple: int
    num_frames: int | None = None
    size: tuple[int, int] | None = None
    fps: float | None = None

    def longest(self, frames: int) -> int:
        """The largest allowed F ≤ ``frames``, or 0."""
        latent_frames = (frames - 1) // self.temporal_stride + 1 if frames else 0
        latent_frames -= latent_frames % self.frame_patch
        return (latent_frames - 1) * self.temporal_stride + 1 if latent_frames else 0

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """H and W that a clip of this size is made into."""
        return self.size or (height - height % self.row_multiple, width - width % self.column_multiple)


@dataclass(frozen=True)
class Clip:
    """Frames that a model can encode.

    Attributes:
        frames: uint8 [F, H, W, 3].
        fps: frames per second.
        changes: what was done to the video, in words.
    """

    frames: Tensor
    fps: float
    changes: tuple[str, ...]


def clip_rules(
    facts: ModelFacts, num_frames: int | None, height: int | None, width: int | None, fps: float | None
) -> ClipRules:
    """Rules for the clips of one model. Raises DataError, with the nearest values that will do, for any that will not."""
    space = facts.latent_space
    frame_patch, row_patch, column_patch = facts.patch
    rows, columns = space.spatial_stride * row_patch, space.spatial_stride * column_patch
    if (height is None) != (width is None):
        raise DataError("--height and --width go together; give both, or none to keep the size of the videos")
    for option, value, multiple in (("--height", height, rows), ("--width", width, columns)):
        if value is not None and (value < multiple or value % multiple):
            lower = max(value // multiple * multiple, multiple)
            raise DataError(
                f"{option} {value} is no multiple of the model's {multiple} pixels; use {lower} or {lower + multiple}"
            )
    size = None if height is None or width is None else (height, width)
    rules = ClipRules(space.temporal_stride, frame_patch, rows, columns, num_frames, size, fps)
    if num_frames is not None and rules.longest(num_frames) != num_frames:
        step = space.temporal_stride * frame_patch
        lower = rules.longest(num_frames) or (frame_patch - 1) * space.temporal_stride + 1
        raise DataError(
            f"--num-frames {num_frames} makes no whole number of latent frames; use {lower} or {lower + step}"
        )
    return rules


def load_clip(path: Path, rules: ClipRules) -> Clip:
    """The first frames of a video, at the rules' rate, length and size. Raises DataError, with the reason, if it has none."""
    source_fps = frame_rate(path)
    fps = rules.fps or source_fps
    timed = iterate_frames(path)
    pixels = (frame.pixels for frame in timed) if fps == source_fps else resample(timed, source_fps, fps)
    # One frame more than is asked for tells whether the clip is cut.
    taken = _sized(pixels if rules.num_frames is None else islice(pixels, rules.num_frames + 1), rules)
    length = rules.longest(len(taken.frames))
    if rules.num_frames is not None:
        if len(taken.frames) < rules.num_frames:
            raise DataError(
                f"it has {len(taken.frames)} frames at {fps:g} per second, {rules.num_frames} are asked for"
            )
        length = rules.num_frames
    if not length:
        raise DataError(f"its {len(taken.frames)} frames are too few for one latent")
    changes = [] if fps == source_fps else [f"resampled from {source_fps:g} to {fps:g} frames per second"]
    if length < len(taken.frames):
        changes.append(
            f"cut to its first {length} frames"
            if rules.num_frames
            else f"trimmed from {len(taken.frames)} to {length} frames"
        )
    return Clip(torch.stack(taken.frames[:length]), fps, (*changes, *taken.changes))


def frame_size(path: Path) -> tuple[int, int]:
    """H and W of a video's first frame. Raises DataError for a file that cannot be read."""
    for frame in iterate_frames(path):
        return frame.pixels.shape[0], frame.pixels.shape[1]
    raise DataError(f"{path} holds no frame")


def resample(frames: Iterable[TimedFrame], source_fps: float, fps: float) -> Iterator[Tensor]:
    """At each time k / fps of the video the pixels shown then: frames are dropped or repeated, never mixed."""
    start, count = 0.0, 0
    shown: TimedFrame | None = None
    for frame in frames:
        if shown is None:
            start = frame.time
        else:
            while count / fps < frame.time - start - CLOCK_TOLERANCE:
                yield shown.pixels
                count += 1
        shown = frame
    if shown is not None:
        end = shown.time - start + 1 / source_fps
        while count / fps < end - CLOCK_TOLERANCE:
            yield shown.pixels
            count += 1


def resize_to_cover(pixels_HWC: Tensor, height: int, width: int) -> Tensor:
    """The middle of the picture scaled, with its own aspect, to cover height × width. Bicubic, antialiased."""
    rows, columns = pixels_HWC.shape[:2]
    scale = max(height / rows, width / columns)
    size = (max(round(rows * scale), height), max(round(columns * scale), width))
    if size != (rows, columns):
        pixels_NCHW = pixels_HWC.permute(2, 0, 1).unsqueeze(0)
        pixels_NCHW = interpolate(pixels_NCHW, size, mode="bicubic", align_corners=False, antialias=True)
        pixels_HWC = pixels_NCHW[0].permute(1, 2, 0)
    return crop_middle(pixels_HWC, height, width)


def crop_middle(pixels_HWC: Tensor, height: int, width: int) -> Tensor:
    """The middle height × width of a picture."""
    top, left = (pixels_HWC.shape[0] - height) // 2, (pixels_HWC.shape[1] - width) // 2
    return pixels_HWC[top : top + height, left : left + width]


@dataclass(frozen=True)
class _Sized:
    """Frames of one size, and what it took."""

    frames: list[Tensor]
    changes: tuple[str, ...]


def _sized(frames: Iterable[Tensor], rules: ClipRules) -> _Sized:
    """Every frame at the size that the first one is made into. Only frames of that size are kept in memory."""
    sized: list[Tensor] = []
    changes: tuple[str, ...] = ()
    height = width = 0
    fit = crop_middle if rules.size is None else resize_to_cover
    for pixels in frames:
        if not sized:
            rows, columns = pixels.shape[0], pixels.shape[1]
            height, width = rules.size_of(rows, columns)
            if not (height and width):
                least = f"{rules.column_multiple}x{rules.row_multiple}"
                raise DataError(
                    f"its {columns}x{rows} pixels are less than the {least} of one token; set --height and --width"
                )
            changes = _size_changes((rows, columns), (height, width), resized=rules.size is not None)
        sized.append(fit(pixels, height, width).contiguous())
    return _Sized(sized, changes)


def _size_changes(old: tuple[int, int], new: tuple[int, int], resized: bool) -> tuple[str, ...]:
    """How a size was changed, in words; widths come first, as is the custom."""
    if old == new:
        return ()
    same_shape = old[0] * new[1] == old[1] * new[0]
    verb = "cropped" if not resized else "resized" if same_shape else "resized and cropped"
    return (f"{verb} from {old[1]}x{old[0]} to {new[1]}x{new[0]}",)
