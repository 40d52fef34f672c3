"""Clips on disk: a folder of mp4 files and a ``captions.jsonl`` of ``{"file_name", "caption"}`` rows.

Reads and writes, through `distill_core.video`; draws nothing and judges nothing.

Shapes in names: F frames, H height, W width, 3 = RGB.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from distill_core.data.encoding.captions import CaptionEntry, read_captions
from distill_core.errors import DataError
from distill_core.video.reading import read_video
from distill_core.video.writing import FAITHFUL, write_mp4
from distill_metric_shapes.captions import Setting
from distill_metric_shapes.world import Frames

CAPTIONS_FILE = "captions.jsonl"


@dataclass(frozen=True)
class Row:
    """One line of a captions file: an mp4 that exists, and its caption."""

    path: Path
    caption: str


def write_folder(folder: Path, clips: Iterable[tuple[Frames, str]], fps: int) -> int:
    """Write clips as ``00000.mp4`` … with their captions file, which comes last: a folder that has one is complete.

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
        name = f"{index:05d}.mp4"
        write_mp4(folder / name, torch.from_numpy(frames_FHW3), fps, FAITHFUL)
        lines.append(json.dumps({"file_name": name, "caption": caption}))
    (folder / CAPTIONS_FILE).write_text("".join(f"{line}\n" for line in lines))
    return len(lines)


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
    return Row(path=folder / entry.file_name, caption=entry.caption)


def read_clips(folder: Path, setting: Setting) -> Iterator[tuple[Frames, str]]:
    """The decoded clips of a folder with their captions, each of the setting's size.

    Raises:
        DataError: as `read_rows` and `distill_core.video.reading.read_video`, or a video of another size.
    """
    expected = (setting.frames, setting.size, setting.size, 3)
    for row in read_rows(folder):
        frames_FHW3: Frames = read_video(row.path).frames.numpy()
        if frames_FHW3.shape != expected:
            found, wanted = (f"{f} frames of {w}x{h}" for f, h, w, _ in (frames_FHW3.shape, expected))
            raise DataError(
                f"{row.path} has {found}, but the {setting.name} shapes world has {wanted}; name the other setting, "
                "or write the clips in that size"
            )
        yield frames_FHW3, row.caption
