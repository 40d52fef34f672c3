"""Video files and frames: PyAV in, uint8 tensors out, and back.

Shapes: F frames, H W pixel rows and columns; frames are RGB, uint8 [F, H, W, 3]. This module neither resizes nor
resamples (:mod:`distill_core.data.encoding.clips` does) and reads no sound.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import torch
from torch import Tensor
from torch.nn.functional import pad

from distill_core.errors import DataError

VIDEO_SUFFIXES = frozenset({".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
"""A picture is read as a video of one frame."""

BT709 = 1
"""The number that ITU-T H.273 gives BT.709 as matrix, as primaries and as transfer characteristics."""
LIMITED_RANGE = 1
"""FFmpeg's number for luma in [16, 235]."""


@dataclass(frozen=True)
class Video:
    """A decoded video.

    Attributes:
        frames: uint8 [F, H, W, 3].
        fps: frames per second.
    """

    frames: Tensor
    fps: float


@dataclass(frozen=True)
class TimedFrame:
    """One frame: when it is first shown, in seconds, and its pixels, uint8 [H, W, 3]."""

    time: float
    pixels: Tensor


def frame_rate(path: Path) -> float:
    """Average frames per second as the file records them. Raises DataError for a file that is no video."""
    with _open_video(path) as container:
        rate = container.streams.video[0].average_rate
    if not rate:
        raise DataError(f"{path} records no frame rate; convert it, e.g. with ffmpeg")
    return float(rate)


def iterate_frames(path: Path) -> Iterator[TimedFrame]:
    """The frames one after another, upright, without holding more than one. Raises DataError where decoding fails."""
    seconds_per_frame = 1 / frame_rate(path)
    with _open_video(path) as container:
        try:
            for index, frame in enumerate(container.decode(video=0)):
                pixels = torch.from_numpy(frame.to_ndarray(format="rgb24"))
                time = index * seconds_per_frame if frame.time is None else float(frame.time)
                yield TimedFrame(time, torch.rot90(pixels, frame.rotation // 90) if frame.rotation else pixels)
        except av.FFmpegError as error:
            raise DataError(f"{path} cannot be decoded: {error.strerror}") from error


def read_video(path: Path) -> Video:
    """All frames of a video, or the one frame of a picture. Raises DataError if it cannot be decoded to the end."""
    frames = [frame.pixels for frame in iterate_frames(path)]
    if not frames:
        raise DataError(f"{path} holds no frame")
    return Video(torch.stack(frames), frame_rate(path))


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
    beside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        _encode_h264(beside, _evenly_sized(frames.cpu()), fps, coding)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _open_video(path: Path) -> av.container.InputContainer:
    """The opened file, which has at least one video stream."""
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path} cannot be read as a video: {error.strerror}") from error
    if not container.streams.video:
        container.close()
        raise DataError(f"{path} has no video stream")
    return container


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
