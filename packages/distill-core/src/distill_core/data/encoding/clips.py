"""From a video file to the clips that a model can encode: rate, length, size. What was changed is said in words.

F frames, H W pixel rows and columns, uint8 [F, H, W, 3]. A clip is cut out while the video is decoded: no more than one clip is
in memory, however long the video.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from distill_core.data.encoding.frames import crop_middle, resample, resize_to_cover
from distill_core.data.encoding.rules import ClipRules, Size
from distill_core.errors import DataError
from distill_core.video.files import IMAGE_SUFFIXES, frame_rate, iterate_frames


@dataclass(frozen=True)
class Clip:
    """Frames that a model can encode.

    Attributes:
        frames: uint8 [F, H, W, 3].
        fps: frames per second.
        start: where in its video it begins, in seconds.
        changes: what was done to the video, in words.
    """

    frames: Tensor
    fps: float
    start: float
    changes: tuple[str, ...]


def cut_clips(path: Path, rules: ClipRules) -> Iterator[Clip]:
    """The clips of a video, one after another from its first frame on, at least one; or the one frame of a picture.

    Raises DataError, with the reason, for a video that has none.
    """
    video = _Video(path, rules)
    length = video.next_length()
    if not length:
        raise DataError(video.too_short())
    start = 0
    for number in range(1, rules.clips_per_video + 1):
        frames, begins = torch.stack(video.take(length)), start / video.fps
        if rules.clips_per_video == 1:
            cuts = [video.cut_to(length)] if video.decoded else []
            following = 0
        else:
            following = video.next_length()
            cuts = [f"cut out: {length} frames from {begins:g} s on"]
            if following and number == rules.clips_per_video:
                cuts.append("the video goes on after it")
            elif video.decoded and not following:
                cuts.append(f"the last {video.decoded} frames after it are too few for a clip")
        yield Clip(frames, video.fps, begins, (*video.changes, *cuts))
        if not following:
            return
        start, length = start + length, following


class _Video:
    """The frames of a video at the rules' rate and size, as far as they have been decoded.

    Attributes:
        fps: frames per second.
        changes: what was done to every frame, in words.
    """

    def __init__(self, path: Path, rules: ClipRules) -> None:
        self._rules = rules
        picture = path.suffix.lower() in IMAGE_SUFFIXES
        source_fps = frame_rate(path)
        self.fps = source_fps if picture or rules.fps is None else rules.fps
        timed = iterate_frames(path)
        resampled = self.fps != source_fps
        pixels = resample(timed, source_fps, self.fps) if resampled else (frame.pixels for frame in timed)
        rate = (f"resampled from {source_fps:g} to {self.fps:g} frames per second",) if resampled else ()
        first = next(pixels, None)
        if first is None:
            raise DataError(f"{path} holds no frame")
        old = (first.shape[0], first.shape[1])
        asked = rules.size_for(*old)
        size = rules.grid.cropped(old) if asked is None else asked
        if not all(size):
            raise DataError(
                f"its {old[1]}x{old[0]} pixels are less than the {rules.grid.column_multiple}x{rules.grid.row_multiple} "
                "of one token; set --height and --width"
            )
        self.changes = (*rate, *_size_changes(old, size, resized=asked is not None))
        self._lengths = rules.lengths(asked, picture)
        self._decoded: list[Tensor] = []
        fit = crop_middle if asked is None else resize_to_cover
        self._frames = (fit(frame, *size).contiguous() for frame in _chained(first, pixels))

    @property
    def decoded(self) -> int:
        """Frames that are decoded and not taken."""
        return len(self._decoded)

    def next_length(self) -> int:
        """The length of the next clip; 0 if the frames that are left make none. Decodes as far as it takes to know."""
        if self._lengths is None:
            self._decoded += self._frames
            return self._rules.grid.longest(len(self._decoded))
        # One frame more than is asked for tells whether the video goes on.
        self._decoded += islice(self._frames, max(0, max(self._lengths, default=0) + 1 - len(self._decoded)))
        return next((length for length in self._lengths if length <= len(self._decoded)), 0)

    def take(self, length: int) -> list[Tensor]:
        """The next frames."""
        taken, self._decoded = self._decoded[:length], self._decoded[length:]
        return taken

    def cut_to(self, length: int) -> str:
        """What was done, in words, where one clip is made of a video and frames are left over."""
        if self._lengths is None:
            return f"trimmed from {length + self.decoded} to {length} frames"
        return f"cut to its first {length} frames"

    def too_short(self) -> str:
        """Why it has no clip."""
        if self._lengths is None:
            return f"its {self.decoded} frames are too few for one latent"
        if not self._lengths:
            return "it is a picture, and clips of one frame are not asked for (--bucket 1xHxW or --num-frames 1 does)"
        return f"it has {self.decoded} frames at {self.fps:g} per second, {self._lengths[-1]} are asked for"


def _chained(first: Tensor, rest: Iterable[Tensor]) -> Iterator[Tensor]:
    """A frame that was looked at, and the others."""
    yield first
    yield from rest


def _size_changes(old: Size, new: Size, resized: bool) -> tuple[str, ...]:
    """How a size was changed, in words; widths come first, as is the custom."""
    if old == new:
        return ()
    same_shape = old[0] * new[1] == old[1] * new[0]
    verb = "cropped" if not resized else "resized" if same_shape else "resized and cropped"
    return (f"{verb} from {old[1]}x{old[0]} to {new[1]}x{new[0]}",)
