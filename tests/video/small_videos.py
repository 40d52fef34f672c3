"""Small videos of every kind, written by PyAV: at any times, of any pixels, shown in any way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""[H, W, 3], RGB."""

LOSSLESS = {"qp": "0", "bf": "0"}
"""x264 keeps every pixel of yuv444p, and shows frames in the order in which it stores them."""


def grey(level: int, height: int = 32, width: int = 32) -> Picture:
    """A picture of one grey."""
    return np.full((height, width, 3), level, np.uint8)


def greys(count: int, height: int = 32, width: int = 32, start: int = 0) -> list[Picture]:
    """Pictures whose level says which they are: 10 · k."""
    return [grey(10 * (start + number), height, width) for number in range(count)]


def numbers(frames: Iterable[object]) -> list[int]:
    """Which of the above frames are."""
    return [round(float(np.asarray(frame, np.float64).mean()) / 10) for frame in frames]


def corners(height: int = 32, width: int = 64) -> Picture:
    """Red above left, blue above right, the rest light: no two of the eight ways to turn and flip it look alike."""
    picture = grey(200, height, width)
    picture[: height // 2, : width // 4] = (255, 0, 0)
    picture[: height // 2, -width // 4 :] = (0, 0, 255)
    return picture


def write_video(
    path: Path,
    pictures: Sequence[Picture],
    fps: float = 16,
    *,
    times: Sequence[float] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv444p",
    options: Mapping[str, str] = LOSSLESS,
    container: str | None = None,
    aspect: Fraction | None = None,
    matrix: Sequence[int] | None = None,
) -> Path:
    """Write pictures, the k-th shown at ``times[k]`` seconds or at k / fps."""
    rate = Fraction(fps).limit_denominator(1001)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, av.open(file, "w", format=container or _container(path)) as output:
        stream = output.add_stream(codec, rate=rate, options=dict(options) if codec == "libx264" else {})
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pixels
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if matrix is not None:
            stream.set_display_matrix(matrix)
        base = Fraction(1, 1000) if times is not None else 1 / rate
        stream.codec_context.time_base = base
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base = base
            frame.pts = number if times is None else round(times[number] * 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def write_frames(
    path: Path, frames: Sequence[av.VideoFrame], codec: str = "ffv1", fps: int = 16, **colours: int
) -> Path:
    """Write frames of other kinds of pixels as they are; ``colours`` are fields of the codec, by ITU-T H.273's numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = frames[0].height, frames[0].width, frames[0].format.name
        for name, value in colours.items():
            setattr(stream.codec_context, name, value)
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, fps)
            for name, value in colours.items():
                setattr(frame, name, value)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def deep_grey(levels_HW: NDArray[np.uint16]) -> av.VideoFrame:
    """A grey frame of 10 bits, of levels in [64, 940]; H and W are multiples of 32."""
    height, width = levels_HW.shape
    frame = av.VideoFrame(width, height, "yuv420p10le")
    frame.planes[0].update(levels_HW.astype("<u2").tobytes())
    for plane in frame.planes[1:]:
        plane.update(np.full((height // 2, plane.line_size // 2), 512, "<u2").tobytes())
    return frame


def joined(path: Path, *parts: Path) -> Path:
    """Files one after another, as `cat` joins them; the parts go."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    return path


def remuxed(path: Path, source: Path, times: Sequence[float], options: Mapping[str, str] | None = None) -> Path:
    """The coded frames of ``source`` in another file: the k-th at ``times[k]`` seconds."""
    with av.open(str(source)) as found:
        packets = [bytes(packet) for packet in found.demux(video=0) if packet.size]
    with av.open(str(source)) as template, av.open(str(path), "w", options=dict(options or {})) as output:
        stream = output.add_stream_from_template(template.streams.video[0])
        for number, (data, time) in enumerate(zip(packets, times, strict=True)):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = round(time * 1000)
            packet.is_keyframe = number == 0
            output.mux(packet)
    return path


def with_cover(path: Path, pictures: list[Picture]) -> Path:
    """A file whose first video stream is cover art, larger than the video."""
    with av.open(str(path), "w") as output:
        cover = output.add_stream("mjpeg", rate=16)
        cover.height, cover.width, cover.pix_fmt = 128, 128, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        video = None
        if pictures:
            video = output.add_stream("libx264", rate=16, options={"qp": "0"})
            video.height, video.width, video.pix_fmt = *pictures[0].shape[:2], "yuv444p"
        output.mux(cover.encode(av.VideoFrame.from_ndarray(grey(250, 128, 128), format="rgb24")))
        output.mux(cover.encode())
        if video is not None:
            for picture in pictures:
                output.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(video.encode())
    return path


def break_frames(path: Path, first: int, last: int) -> Path:
    """Flip bits inside the coded frames ``first`` … ``last`` - 1, as a bad disk leaves them."""
    data, random = bytearray(path.read_bytes()), np.random.default_rng(0)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for place, size in places[first:last]:
        for at in random.integers(12, max(13, size - 4), max(3, size // 60)):
            data[place + int(at)] ^= int(random.integers(1, 255))
    path.write_bytes(data)
    return path


def without_rate(path: Path) -> Path:
    """A Matroska file whose track states no rate, as browsers write it: the element DefaultDuration becomes Void."""
    data = bytearray(path.read_bytes())
    at = data.find(b"\x23\xe3\x83")
    assert at > 0
    data[at], data[at + 1] = 0xEC, 0x80 | ((data[at + 3] & 0x7F) + 2)
    path.write_bytes(data)
    return path


def _container(path: Path) -> str:
    """What FFmpeg calls the format of a suffix."""
    known = {".mkv": "matroska", ".mts": "mpegts", ".ts": "mpegts", ".wmv": "asf", ".ogv": "ogg"}
    return known.get(path.suffix, path.suffix.removeprefix("."))
