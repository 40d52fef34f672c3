"""What is done to single frames: at what times they are shown, at what size. Opens no file.

H W pixel rows and columns, uint8 [H, W, 3].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from torch import Tensor
from torch.nn.functional import interpolate

from distill_core.errors import DataError
from distill_core.video.film import TimedFrame

CLOCK_TOLERANCE = 1e-3
"""Seconds by which a time stamp may be off: Matroska and others round to milliseconds."""
LONGEST_STILL = 10.0
"""Seconds for which one frame may be shown where frames are resampled."""
EVEN = 0.1
"""The share of the time between two frames by which others may differ, and be called even."""


def resample(frames: Iterable[TimedFrame], fps: float) -> Iterator[tuple[float, TimedFrame]]:
    """Each time k / fps with the frame shown then: frames are dropped or repeated, never mixed.

    Raises DataError where a frame would be repeated that is shown for longer than LONGEST_STILL.
    """
    count = 0
    for frame, end in _spans(frames):
        repeated = False
        while count / fps < end - CLOCK_TOLERANCE:
            if repeated:
                _check_still(frame.number, end - frame.time)
            yield count / fps, frame
            count, repeated = count + 1, True


def _spans(frames: Iterable[TimedFrame]) -> Iterator[tuple[TimedFrame, float]]:
    """Each frame with the time until which it is shown."""
    shown: TimedFrame | None = None
    for frame in frames:
        if shown is not None:
            yield shown, frame.time
        shown = frame
    if shown is not None:
        yield shown, shown.time + shown.duration


def _check_still(number: int, seconds: float) -> None:
    """Raise DataError if a frame is shown for too long."""
    if seconds > LONGEST_STILL:
        raise DataError(
            f"its frame {number} is shown for {seconds:.4g} s, and {LONGEST_STILL:g} s is the longest that is filled with stills; "
            "cut the video there, or leave out --fps"
        )


def spacing(times: Sequence[float]) -> tuple[float, float]:
    """The shortest and the longest time between neighbours of at least two frames, in seconds."""
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return min(gaps), max(gaps)


def is_even(shortest: float, longest: float) -> bool:
    """Whether frames so far apart come at one rate, as far as their stamps can say."""
    return longest - shortest <= EVEN * shortest + 2 * CLOCK_TOLERANCE


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
