"""From a video file to the clips that a model can encode: rate, length, size. What was changed is said in words.

F frames, H W pixel rows and columns, uint8 [F, H, W, 3]. A clip is cut out while the video is decoded: no more than one clip is
in memory, however long the video, and none that there is no room for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from distill_core.data.encoding.frames import (
    CLOCK_TOLERANCE,
    crop_middle,
    is_even,
    resample,
    resize_to_cover,
    spacing,
)
from distill_core.data.encoding.room import room_for_a_clip
from distill_core.data.encoding.rules import ClipRules, Size
from distill_core.errors import DataError
from distill_core.video.film import Film, TimedFrame
from distill_core.video.reading import open_film

STATED_RATE = 0.02
"""The share by which the rate that a file states may differ from that of its frames, and be taken for it."""


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
    with open_film(path) as film:
        yield from _cut(_Video(path, film, rules), rules)


def _cut(video: _Video, rules: ClipRules) -> Iterator[Clip]:
    """The clips of an opened video."""
    length = video.next_length()
    if not length:
        raise DataError(video.too_short())
    for number in range(1, rules.clips_per_video + 1):
        taken = video.take(length)
        fps, rate_words = video.rate(taken)
        if rules.clips_per_video == 1:
            cuts = [video.cut_to(length)] if video.decoded else []
            following = 0
        else:
            following = video.next_length()
            cuts = [f"cut out: {length} frames from {taken[0].time:g} s on"]
            if following and number == rules.clips_per_video:
                cuts.append("the video goes on after it")
            elif video.decoded and not following:
                cuts.append(f"the last {video.decoded} frames after it are too few for a clip")
        frames = torch.stack([shown.pixels for shown in taken])
        yield Clip(frames, fps, taken[0].time, (*video.changes, *rate_words, *cuts))
        if not following:
            return
        length = following


@dataclass(frozen=True)
class _Shown:
    """A frame as it goes into a clip: when and how long it is shown, in seconds, and its pixels at the size of the clip."""

    time: float
    duration: float
    pixels: Tensor


class _Video:
    """The frames of a video at the rules' rate and size, as far as they have been decoded."""

    def __init__(self, path: Path, film: Film, rules: ClipRules) -> None:
        self._film = film
        self._rules = rules
        self._fps = None if film.look.still else rules.fps
        if film.look.transfer is not None and rules.hdr == "refuse":
            raise DataError(
                f"it is HDR ({film.look.transfer}), and --hdr refuse was given; --hdr tone-map makes it SDR"
            )
        timed = self._timed()
        self._first = next(timed, None)
        if self._first is None:
            raise DataError(f"{path} holds no frame")
        first = self._first[1].pixels
        self._old = (first.shape[0], first.shape[1])
        self._asked = rules.size_for(*self._old)
        self._size = rules.grid.cropped(self._old) if self._asked is None else self._asked
        if not all(self._size):
            raise DataError(
                f"its {self._old[1]}x{self._old[0]} pixels are less than the {rules.grid.column_multiple}x"
                f"{rules.grid.row_multiple} of one token; set --height and --width"
            )
        self._several_sizes = False
        self._size_words = _size_changes(self._old, self._size, resized=self._asked is not None)
        self._lengths = rules.lengths(self._asked, film.look.still)
        self._decoded: list[_Shown] = []
        self._room = room_for_a_clip()
        self._rest = timed

    @property
    def decoded(self) -> int:
        """Frames that are decoded and not taken."""
        return len(self._decoded)

    @property
    def changes(self) -> tuple[str, ...]:
        """What was done to the frames that were taken so far, in words."""
        return (*self._film.changes, *self._size_words)

    def _timed(self) -> Iterator[tuple[float, TimedFrame]]:
        """The frames at the rate that is asked for, each with its time; what that does to them is said."""
        if self._fps is None:
            for frame in self._film.frames:
                yield frame.time, frame
            return
        rate, changes = self._film.look.rate, self._film.changes
        if rate is not None and rate != self._fps:
            changes.say(f"resampled from {rate:g} to {self._fps:g} frames per second")
        before = -1
        for time, frame in resample(self._film.frames, self._fps):
            if frame.number != before + 1 and (rate is None or rate == self._fps):
                changes.say(f"resampled by time stamps to {self._fps:g} frames per second")
            before = frame.number
            yield time, frame

    def _next(self) -> bool:
        """Decode one frame more; whether there was one. Raises DataError where there is no room for it."""
        timed, self._first = self._first or next(self._rest, None), None
        if timed is None:
            return False
        height, width = self._size
        if (self.decoded + 1) * height * width * 3 > self._room:
            raise DataError(self._too_long())
        time, frame = timed
        pixels = frame.pixels
        if (pixels.shape[0], pixels.shape[1]) != self._old and not self._several_sizes:
            self._size_changed(frame.number, pixels)
        fit = crop_middle if self._asked is None else resize_to_cover
        self._decoded.append(_Shown(time, frame.duration, fit(pixels, height, width).contiguous()))
        return True

    def _size_changed(self, number: int, pixels: Tensor) -> None:
        """A frame is of another size than the first: where a size is asked for that is said, otherwise it is an error."""
        sizes = f"from {self._old[1]}x{self._old[0]} to {pixels.shape[1]}x{pixels.shape[0]} at frame {number}"
        if self._asked is None:
            raise DataError(f"its size changes ({sizes}); set --height and --width, and each frame is scaled")
        self._several_sizes = True
        self._film.changes.say(f"frames of several sizes, each scaled ({sizes})")

    def _too_long(self) -> str:
        """Why there is no room for it."""
        height, width = self._size
        fps, seconds = self._fps or self._film.look.rate, self._film.look.seconds
        stated = round(seconds * fps) if fps and seconds else 0
        asked = max(self._lengths, default=0) if self._lengths else 0
        count = asked or max(stated, self.decoded + 1)
        gigabytes = count * height * width * 3 / 1e9
        return (
            f"its {count} frames of {width}x{height} pixels are {gigabytes:.2g} GB, and a clip may take {self._room / 1e9:.2g} GB of "
            "this machine's memory; ask for fewer with --num-frames"
        )

    def next_length(self) -> int:
        """The length of the next clip; 0 if the frames that are left make none. Decodes as far as it takes to know."""
        if self._lengths is None:
            while self._next():
                pass
            return self._rules.grid.longest(self.decoded)
        # One frame more than is asked for tells whether the video goes on.
        while self.decoded <= max(self._lengths, default=0) and self._next():
            pass
        return next((length for length in self._lengths if length <= self.decoded), 0)

    def take(self, length: int) -> list[_Shown]:
        """The next frames."""
        taken, self._decoded = self._decoded[:length], self._decoded[length:]
        return taken

    def rate(self, taken: list[_Shown]) -> tuple[float, tuple[str, ...]]:
        """The frames per second of a clip, and in words where they are not what one would think."""
        if self._fps is not None:
            return self._fps, ()
        stated = self._film.look.rate
        if len(taken) < 2:
            return stated or 1 / taken[0].duration, ()
        times = [shown.time for shown in taken]
        intervals, seconds = len(times) - 1, times[-1] - times[0]
        shortest, longest = spacing(times)
        leeway = max(STATED_RATE * seconds, 2 * CLOCK_TOLERANCE)
        fps = stated if stated and abs(intervals / stated - seconds) <= leeway else intervals / seconds
        if not is_even(shortest, longest):
            apart = f"frames are {shortest:.3g} to {longest:.3g} s apart"
            return fps, (f"its frame rate varies; --fps F makes it even ({apart})",)
        if stated and fps != stated:
            return fps, (f"its frames come at {fps:.4g} per second (its header says {stated:.4g})",)
        return fps, ()

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
        rate = self._fps or self._film.look.rate
        at = f" at {rate:g} per second" if rate else ""
        return f"it has {self.decoded} frames{at}, {self._lengths[-1]} are asked for"


def _size_changes(old: Size, new: Size, resized: bool) -> tuple[str, ...]:
    """How a size was changed, in words; widths come first, as is the custom."""
    if old == new:
        return ()
    same_shape = old[0] * new[1] == old[1] * new[0]
    verb = "cropped" if not resized else "resized" if same_shape else "resized and cropped"
    return (f"{verb} from {old[1]}x{old[0]} to {new[1]}x{new[0]}",)
