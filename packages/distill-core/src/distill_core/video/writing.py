"""Frames to video files: H.264 in mp4, the same bytes for the same frames. Writes no sound.

Shapes: F frames, H W pixel rows and columns; frames are RGB, uint8 [F, H, W, 3].
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import torch
from torch import Tensor
from torch.nn.functional import pad

from distill_core.durable import beside

BT709 = 1
"""The number that ITU-T H.273 gives BT.709 as matrix, as primaries and as transfer characteristics."""
LIMITED_RANGE = 1
"""FFmpeg's number for luma in [16, 235]."""


@dataclass(frozen=True)
class Coding:
    """How finely H.264 keeps frames.

    Attributes:
        pixels: yuv420p, with halved chroma, plays everywhere; yuv444p keeps every pixel's own colour.
        crf: x264's constant rate factor; less is finer.
    """

    pixels: Literal["yuv420p", "yuv444p"]
    crf: int


PLAYABLE = Coding("yuv420p", 18)
FAITHFUL = Coding("yuv444p", 4)
"""For clips that are to be trained on: within one or two levels of 255 of the frames."""

_X264 = {
    "preset": "veryfast",
    "threads": "1",
    # On frames of 32 × 32 pixels, x264's macroblock-tree lookahead gives other bytes from one call to the next.
    "x264-params": "mbtree=0",
}


def write_mp4(path: Path, frames: Tensor, fps: float, coding: Coding = PLAYABLE) -> None:
    """Write uint8 frames [F, H, W, 3] as H.264 (BT.709), beside ``path`` and then renamed over it.

    Sizes must be even where chroma is halved: an odd height or width is padded by one copy of the last row or column. The
    same frames give the same bytes on every machine with the same FFmpeg.
    """
    assert frames.dtype == torch.uint8, frames.dtype
    assert len(frames) > 0
    path.parent.mkdir(parents=True, exist_ok=True)
    new = beside(path)
    try:
        _encode_h264(new, _evenly_sized(frames.cpu()), fps, coding)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _evenly_sized(frames_FHWC: Tensor) -> Tensor:
    """The frames with their last row and column repeated where H or W is odd."""
    odd_rows, odd_columns = frames_FHWC.shape[1] % 2, frames_FHWC.shape[2] % 2
    if not (odd_rows or odd_columns):
        return frames_FHWC
    frames_CFHW = frames_FHWC.permute(3, 0, 1, 2)
    return pad(frames_CFHW, (0, odd_columns, 0, odd_rows, 0, 0), mode="replicate").permute(1, 2, 3, 0)


def _encode_h264(path: Path, frames_FHWC: Tensor, fps: float, coding: Coding) -> None:
    """Encode with one thread, because the bytes that x264 writes depend on the number of threads."""
    rate = Fraction(fps).limit_denominator(1001)  # the NTSC rates are n/1001
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={**_X264, "crf": str(coding.crf)})
        stream.height, stream.width, stream.pix_fmt = *frames_FHWC.shape[1:3], coding.pixels
        codec = stream.codec_context
        codec.colorspace = codec.color_primaries = codec.color_trc = BT709
        codec.color_range = LIMITED_RANGE
        for pixels in frames_FHWC:
            frame = av.VideoFrame.from_ndarray(pixels.contiguous().numpy(), format="rgb24")
            container.mux(
                stream.encode(frame.reformat(format=coding.pixels, dst_colorspace=BT709, dst_color_range="MPEG"))
            )
        container.mux(stream.encode())
