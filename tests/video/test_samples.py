"""A sample of one frame is a picture, in files and in pages; any other is an mp4."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from distill_core.video.samples import embedded, is_picture, write_sample


def frames(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 8, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_one_frame_is_a_png_of_the_same_pixels(tmp_path: Path) -> None:
    path = write_sample(tmp_path / "00-v1.5-a-cat", frames(1), 8.0)
    assert path.name == "00-v1.5-a-cat.png"
    assert is_picture(path)
    assert (np.asarray(Image.open(path)) == frames(1)[0].numpy()).all()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_several_frames_are_an_mp4(tmp_path: Path) -> None:
    path = write_sample(tmp_path / "a", frames(2), 8.0)
    assert (path.name, is_picture(path)) == ("a.mp4", False)


def test_a_page_shows_each_as_what_it_is(tmp_path: Path) -> None:
    shown = [embedded(write_sample(tmp_path / "a", frames(count), 8.0), "a cat") for count in (1, 2)]
    assert shown[0].startswith('<img alt="a cat" src="data:image/png;base64,')
    assert "<video" in shown[1]
