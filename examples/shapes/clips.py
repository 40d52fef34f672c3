"""Clips on disk: a folder of mp4 files, or of pictures as png, and a ``captions.jsonl`` of ``{"file_name", "caption"}`` rows.

Reads and writes, through `distill_core.video`; draws nothing and judges nothing.

Shapes in names: F frames, H height, W width, 3 = RGB.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from distill_core.data.encoding.captions import CaptionEntry, read_captions
from distill_core.errors import DataError
from distill_core.protocols import SampledVideo
from distill_core.video.reading import read_picture, read_video
from distill_core.video.samples import is_picture, write_png
from distill_core.video.writing import FAITHFUL, write_mp4
from distill_metric_shapes.captions import Setting
from distill_metric_shapes.world import Frames

CAPTIONS_FILE = "captions.jsonl"


@dataclass(frozen=True)
class Row:
    """One line of a captions file: an mp4 or a png that exists, its caption, and the picture that it was made of, if it was made of one."""

    path: Path
    caption: str
    picture: Path | None = None


def write_folder(folder: Path, clips: Iterable[tuple[Frames, str]], fps: int) -> int:
    """Write clips as ``00000.mp4`` …, or ``.png`` of one frame, with their captions file, which comes last:
    a folder that has one is complete.

    Returns:
        The number of clips written.

    Raises:
        DataError: the folder already holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty; name a new folder, or empty this one first")
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for index, (frames_FHW3, caption) in enumerate(clips):
        still = len(frames_FHW3) == 1
        name = f"{index:05d}.{'png' if still else 'mp4'}"
        if still:
            write_png(folder / name, torch.from_numpy(frames_FHW3[0]))
        else:
            write_mp4(folder / name, torch.from_numpy(frames_FHW3), fps, FAITHFUL)
        lines.append(json.dumps({"file_name": name, "caption": caption}))
    (folder / CAPTIONS_FILE).write_text("".join(f"{line}\n" for line in lines))
    return len(lines)


def write_pictures(folder: Path, pictures: Sequence[tuple[Frames, str]]) -> None:
    """Write pictures [H, W, 3] as png, with a ``prompts.jsonl`` that names each beside its caption, as `distill sample --prompts` reads it.

    Raises:
        DataError: the folder already holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty; name a new folder, or empty this one first")
    lines = []
    for index, (picture_HW3, caption) in enumerate(pictures):
        write_png(folder / f"{index:05d}.png", torch.from_numpy(picture_HW3))
        lines.append(json.dumps({"caption": caption, "image": f"{index:05d}.png"}))
    (folder / "prompts.jsonl").write_text("".join(f"{line}\n" for line in lines))


def read_rows(folder: Path) -> list[Row]:
    """The rows of a folder's captions file, in its order.

    Raises:
        DataError: no folder, no captions file, no rows, a malformed row, or a file that is not there.
    """
    captions_file = folder / CAPTIONS_FILE
    if not captions_file.is_file():
        raise DataError(
            f"{captions_file} does not exist; a folder of clips has mp4 files and a {CAPTIONS_FILE} of "
            '{"file_name": ..., "caption": ...} lines, as examples/shapes/draw.py writes it'
        )
    rows = [_row(folder, entry) for entry in read_captions(captions_file)]
    if not rows:
        raise DataError(f"{captions_file} names no clips; draw some with: python examples/shapes/draw.py --output DIR")
    return rows


def _row(folder: Path, entry: CaptionEntry) -> Row:
    where = f"{folder / CAPTIONS_FILE}:{entry.line}"
    if entry.file_name is None:
        raise DataError(f'{where}: name the video, as in {{"file_name": "00000.mp4", "caption": "..."}}')
    if not (folder / entry.file_name).is_file():
        raise DataError(f"{where}: {entry.file_name} is not in {folder}; add it or drop the line")
    picture = entry.pictures.get("first_frame")
    return Row(folder / entry.file_name, entry.caption, None if picture is None else folder / picture)


def read_samples(folder: Path, setting: Setting) -> Iterator[SampledVideo]:
    """The clips of a folder as samples, with the pictures that they were made of.

    Raises:
        DataError: as `read_clips`, or a picture that cannot be read.
    """
    for row, (frames_FHW3, caption) in zip(read_rows(folder), read_clips(folder, setting), strict=True):
        picture = None if row.picture is None else read_picture(row.picture)
        yield SampledVideo(caption, 0, torch.from_numpy(frames_FHW3), 0, first_frame=picture)


def read_clips(folder: Path, setting: Setting) -> Iterator[tuple[Frames, str]]:
    """The decoded clips of a folder with their captions, each of the setting's size.

    Raises:
        DataError: as `read_rows` and `distill_core.video.reading.read_video`, or a video of another size.
    """
    expected = (setting.frames, setting.size, setting.size, 3)
    for row in read_rows(folder):
        read: Tensor = read_picture(row.path)[None] if is_picture(row.path) else read_video(row.path).frames
        frames_FHW3: Frames = read.numpy()
        if frames_FHW3.shape != expected:
            found, wanted = (f"{f} frames of {w}x{h}" for f, h, w, _ in (frames_FHW3.shape, expected))
            raise DataError(
                f"{row.path} has {found}, but the {setting.name} shapes world has {wanted}; name the other setting, "
                "or write the clips in that size"
            )
        yield frames_FHW3, row.caption
