"""One look at a stream before its frames are used: which it is, how it is to be shown, when, and for how long.

What is found here is applied by :mod:`distill_core.video.showing` or said; nothing is decoded but the first frame.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition

from distill_core.errors import DataError

Transfer = Literal["PQ", "HLG"]
"""How a high dynamic range is stored: ITU-R BT.2100's perceptual quantiser, or its hybrid log-gamma."""

_TRANSFERS: dict[int, Transfer] = {16: "PQ", 18: "HLG"}
"""By the number that ITU-T H.273 gives them."""
_UNREAD_MATRICES = {10: "BT.2020 of constant luminance", 14: "ICtCp", 15: "IPT-C2"}
"""Ways to store colours that libswscale takes for others, by the number that ITU-T H.273 gives them."""
_WIDE_PRIMARIES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
"""Primaries beyond BT.709's, likewise."""
_UNIT = 1 << 16
"""1 in a display matrix, whose entries are 16.16 fixed point."""


@dataclass(frozen=True)
class Turn:
    """How a stored picture is set upright: quarter turns counterclockwise, then a flip of left and right."""

    quarters: int = 0
    mirrored: bool = False

    @property
    def words(self) -> str:
        """What is done, in words, or ""."""
        turned = ("", "turned 90° counterclockwise", "turned by 180°", "turned 90° clockwise")[self.quarters]
        return " and ".join(filter(None, (turned, "mirrored" if self.mirrored else "")))


@dataclass(frozen=True)
class Look:
    """What a file says of its pictures.

    Attributes:
        still: it is one picture, not a video of one frame.
        rate: frames per second on average, as far as it says.
        seconds: how long it is, as far as it says.
        turn: how it is set upright.
        pixel_aspect: the width of a pixel by its height.
        transfer: the HDR transfer function; None for SDR.
        remarks: what is not applied, or was chosen, in words.
    """

    still: bool = False
    rate: float | None = None
    seconds: float | None = None
    turn: Turn = Turn()
    pixel_aspect: Fraction = Fraction(1)
    transfer: Transfer | None = None
    remarks: tuple[str, ...] = ()


def main_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The stream that a player would show; never the cover art. Raises DataError if there is none."""
    moving = [stream for stream in container.streams.video if not is_cover(stream)]
    if not moving:
        art = " but cover art" if container.streams.video else ""
        raise DataError(f"{path} has no video stream{art}")
    best = container.streams.best("video")
    return best if best in moving else moving[0]


def is_cover(stream: av.VideoStream) -> bool:
    """Whether a stream is a picture about the file."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def look_at(container: av.container.InputContainer, stream: av.VideoStream, first: av.VideoFrame) -> Look:
    """What a stream and its first frame say. Raises DataError for colours that would come out wrong."""
    if first.colorspace in _UNREAD_MATRICES:
        raise DataError(
            f"its colours are stored as {_UNREAD_MATRICES[first.colorspace]}, which is not read; convert it"
        )
    turn, remarks = _turn(first)
    transfer = _TRANSFERS.get(first.color_trc)
    if transfer is None and first.color_primaries in _WIDE_PRIMARIES:
        remarks.append(f"its colours of {_WIDE_PRIMARIES[first.color_primaries]} are taken as BT.709's")
    moving = [other for other in container.streams.video if not is_cover(other)]
    if len(moving) > 1:
        remarks.append(f"of its {len(moving)} video streams the one of {stream.width}x{stream.height} pixels")
    if stream.metadata.get("alpha_mode") == "1":
        remarks.append("its transparency is left out: what it hides is shown")
    return Look(
        rate=float(stream.average_rate) if stream.average_rate else None,
        seconds=_seconds(container, stream),
        turn=turn,
        pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
        transfer=transfer,
        remarks=tuple(remarks),
    )


def stated_end(stream: av.VideoStream) -> float | None:
    """How long the stream itself, and not the file with its sound, says to be, in seconds."""
    seconds: float | None = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    return seconds


def _seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """How long a stream is, or else the file."""
    seconds = stated_end(stream)
    if seconds is None and container.duration:
        return float(container.duration / av.time_base)
    return seconds


def _turn(frame: av.VideoFrame) -> tuple[Turn, list[str]]:
    """How a frame is set upright, and what is not done."""
    try:
        found = frame.side_data.get(SideDataType.DISPLAYMATRIX)
    except ValueError:  # some kind beside it that PyAV has no name for: its angle is known all the same
        return Turn(frame.rotation // 90 % 4), []
    if found is None:
        return Turn(), []
    a, b, _, c, d = struct.unpack("=9i", bytes(found))[:5]
    turn = _TURNS.get(tuple(round(entry / _UNIT) for entry in (a, b, c, d)))
    if turn is None:
        return Turn(), ["its display matrix is no quarter turn, and not applied"]
    return turn, []


_TURNS = {
    (1, 0, 0, 1): Turn(0),
    (0, -1, 1, 0): Turn(1),
    (-1, 0, 0, -1): Turn(2),
    (0, 1, -1, 0): Turn(3),
    (-1, 0, 0, 1): Turn(0, mirrored=True),
    (0, -1, -1, 0): Turn(1, mirrored=True),
    (1, 0, 0, -1): Turn(2, mirrored=True),
    (0, 1, 1, 0): Turn(3, mirrored=True),
}
"""By the matrix's a, b, c, d: the pixel at (x, y) is shown at (a·x + c·y, b·x + d·y)."""
