"""Files to frames: what a player would show of a video or a picture, on one clock. Neither resizes nor resamples; reads no sound.

Shapes: F frames, H W pixel rows and columns; frames are RGB, uint8 [F, H, W, 3].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import av
import torch
from torch import Tensor

from distill_core.errors import DataError
from distill_core.video.clock import Clock
from distill_core.video.deinterlacing import deinterlaced
from distill_core.video.film import Changes, Film, TimedFrame
from distill_core.video.kinds import kind_of
from distill_core.video.looking import Look, look_at, main_stream, stated_end
from distill_core.video.pictures import open_picture
from distill_core.video.showing import developed

BUFFER_BYTES = 1 << 20
PARSED_AHEAD = 2
"""Packets by which FFmpeg marks one as incomplete before the gap that it is before."""
ENDS_EARLY = 0.1
"""The share of its stated length that a video may lack without a word, and as many seconds."""


@dataclass(frozen=True)
class Video:
    """A decoded video.

    Attributes:
        frames: uint8 [F, H, W, 3].
        fps: frames per second.
    """

    frames: Tensor
    fps: float


def open_film(path: Path) -> AbstractContextManager[Film]:
    """A video or a picture, opened. Raises DataError, here or where its frames are taken, for what cannot be read."""
    return open_picture(path) if kind_of(path) == "picture" else _open_video(path)


def read_video(path: Path) -> Video:
    """All frames of a video, or the one frame of a picture. Raises DataError if it cannot be decoded to the end."""
    with open_film(path) as film:
        frames = list(film.frames)
        if not frames:
            raise DataError(f"{path} holds no frame")
        return Video(torch.stack([frame.pixels for frame in frames]), film.look.rate or 1 / frames[0].duration)


def read_picture(path: Path) -> Tensor:
    """A picture, or a video's first frame, uint8 [H, W, 3]. Raises DataError for what cannot be read."""
    with open_film(path) as film:
        first = next(film.frames, None)
        if first is None:
            raise DataError(f"{path} holds no frame")
        return first.pixels


@contextmanager
def _open_video(path: Path) -> Iterator[Film]:
    """A video file as a film. Through a Python file, since FFmpeg takes % and other letters of a name for patterns."""
    with _opened(path) as file, _container(path, file) as container:
        stream = main_stream(container, path)
        changes = Changes()
        decoded = _decoded(path, _complete(container.demux(stream)))
        first = next(decoded, None)
        if first is None:
            raise DataError(f"{path} holds no frame")
        look = look_at(container, stream, first)
        changes.say(*look.remarks)
        frames = deinterlaced(chain([first], decoded), stream, changes)
        yield Film(look, _timed(frames, stream, look, changes), changes)


_ASKED_HOW_TO_DECODE = int(av.__version__.partition(".")[0]) < 19
"""From 19 on PyAV takes texts that are not UTF-8 as they are, and refuses to be told how."""


def _opened(path: Path) -> BinaryIO:
    """The file. Raises DataError if it cannot be read, or is empty."""
    try:
        if not path.stat().st_size:
            raise DataError(f"{path} cannot be read as a video: it is empty")
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read as a video: {error.strerror}") from error


def _container(path: Path, file: BinaryIO) -> av.container.InputContainer:
    """What FFmpeg makes of the file; texts in it need not be UTF-8."""
    told = {"metadata_errors": "replace"} if _ASKED_HOW_TO_DECODE else {}
    try:
        return av.open(file, buffer_size=BUFFER_BYTES, **told)
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path} cannot be read as a video: {error.strerror}") from error


def _complete(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """The coded frames. Raises DataError at one that is incomplete, unless another recording begins there."""
    incomplete: int | None = None
    before: int | None = None
    for number, packet in enumerate(packets):
        if before is not None and packet.dts is not None and packet.dts <= before:
            incomplete = None
        if incomplete is not None and number - incomplete >= PARSED_AHEAD:
            break
        if packet.is_corrupt:
            incomplete = number
        before = packet.dts
        yield packet
    if incomplete is not None:
        raise DataError(
            f"data is missing in its file near frame {incomplete} (frames count from 0); get the file again, or, if it plays well, "
            "copy it into an mp4 (ffmpeg -i FILE -c copy FILE.mp4)"
        )


def _decoded(path: Path, packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame]:
    """The frames of packets, in the order in which they are shown. Raises DataError at the first that is damaged."""
    number = 0
    try:
        for packet in packets:
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                if frame.is_corrupt:
                    raise DataError(
                        f"its frame {number} is damaged (frames count from 0); get the file again, or cut it before that frame"
                    )
                yield frame
                number += 1
    except av.FFmpegError as error:
        raise DataError(
            f"{path} cannot be decoded after {number} frames: {error.strerror}; get the file again, or cut it before that"
        ) from error


def _timed(
    frames: Iterator[av.VideoFrame], stream: av.VideoStream, look: Look, changes: Changes
) -> Iterator[TimedFrame]:
    """The frames on one clock; at the end it is said if there are fewer than the file speaks of."""
    clock = Clock(changes, look.rate)
    end = 0.0
    for number, frame in enumerate(frames):
        length = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else None
        stamp = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        time, duration = clock.place(number, stamp, length)
        end = time + duration
        yield TimedFrame(number, time, duration, partial(developed, frame, look, changes))
    stated = stated_end(stream)
    if stated is not None and end < stated - max(ENDS_EARLY, ENDS_EARLY * stated):
        changes.say(f"a part of its file is missing ({end:.3g} of {stated:.3g} s are there)")
