"""Samples to files, and into pages: a sample of one frame is a picture, and a png; any other is an mp4.

F frames, H W pixel rows and columns, uint8 [F, H, W, 3].
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from distill_core.durable import beside
from distill_core.video.writing import write_mp4

PICTURE = ".png"
VIDEO = ".mp4"


def write_sample(place: Path, frames: Tensor, fps: float) -> Path:
    """Write a sample as ``place`` with the suffix of its kind, beside and then renamed; the path that it got."""
    suffix = PICTURE if len(frames) == 1 else VIDEO
    path = place.with_name(place.name + suffix)
    if suffix == PICTURE:
        write_png(path, frames[0])
    else:
        write_mp4(path, frames, fps)
    return path


def write_png(path: Path, pixels_HW3: Tensor) -> None:
    """Write uint8 pixels [H, W, 3] as they are, beside ``path`` and then renamed over it."""
    assert pixels_HW3.dtype == torch.uint8, pixels_HW3.dtype
    path.parent.mkdir(parents=True, exist_ok=True)
    new = beside(path)
    try:
        Image.fromarray(pixels_HW3.contiguous().cpu().numpy()).save(new, format="PNG")
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def is_picture(path: Path) -> bool:
    """Whether a file that :func:`write_sample` wrote is a picture."""
    return path.suffix == PICTURE


def embedded(path: Path, label: str) -> str:
    """The HTML that shows the file, which is in it; ``label`` is escaped already."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    if is_picture(path):
        return f'<img alt="{label}" src="data:image/png;base64,{data}">'
    return f'<video autoplay loop muted playsinline aria-label="{label}" src="data:video/mp4;base64,{data}"></video>'
