"""What is done to single frames: at what times they are shown, at what size. Opens no file.

H W pixel rows and columns, uint8 [H, W, 3].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor
from torch.nn.functional import interpolate

from distill_core.video.files import TimedFrame

CLOCK_TOLERANCE = 1e-3
"""Seconds by which a time stamp may be off: Matroska and others round to milliseconds."""


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
