"""Columns that a family declares, written by ``data encode`` beside the latents, and read with each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.data.data_sets import FACTS
from tests.data.tiny_encoding import PixelEncoder, encode_folder, encoding
from torch import Tensor

from distill_core.data.encoding.captions import CaptionEntry
from distill_core.data.encoding.encode_captions import caption_id, encode_captions
from distill_core.data.encoding.folder import EncodingFolder
from distill_core.data.encoding.shard import Shard
from distill_core.data.reading.dataset import open_dataset
from distill_core.errors import DataError
from distill_core.plugins import Column
from distill_core.video.writing import write_mp4

FIRST = Column("first_frame", (3, "H", "W"), "the first frame, small", "run `acme pictures`")
PICTURED = replace(FACTS, columns=(FIRST,))


class PictureEncoder(PixelEncoder):
    """Makes the column too: the first frame at the latents' size."""

    def __init__(self, name: str = "first_frame", scale: int = 8) -> None:
        self.name, self.scale = name, scale

    def encode_columns(self, frames: Tensor | None, caption: str) -> Mapping[str, Tensor]:
        assert frames is not None
        return {self.name: frames[0, :: self.scale, :: self.scale].permute(2, 0, 1).float() + len(caption)}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_mp4(folder / "a.mp4", torch.full((5, 32, 32, 3), 90, dtype=torch.uint8), 8.0)
    (folder / "a.txt").write_text("four")
    return folder


def test_what_a_family_declares_is_written_and_read(videos: Path, tmp_path: Path) -> None:
    how = replace(encoding(encoder=PictureEncoder()), facts=PICTURED)
    (fate,) = encode_folder(videos, tmp_path / "out", how)
    assert fate.encoded, fate
    row = open_dataset(tmp_path / "out", latents=True, declared=[FIRST])[0]
    assert row.tensors["first_frame"].shape == (3, 4, 4)
    assert row.tensors["first_frame"].mean().item() == pytest.approx(94, abs=2)


def test_a_new_caption_makes_the_columns_anew(videos: Path, tmp_path: Path) -> None:
    how = replace(encoding(encoder=PictureEncoder()), facts=PICTURED)
    encode_folder(videos, tmp_path / "out", how)
    (videos / "a.txt").write_text("four and more")
    (fate,) = encode_folder(videos, tmp_path / "out", how)
    assert fate.encoded, fate
    row = open_dataset(tmp_path / "out", latents=True, declared=[FIRST])[0]
    assert row.tensors["first_frame"].mean().item() == pytest.approx(103, abs=2)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (PictureEncoder(name="other"), r"its family made no first_frame \[3, H, W\]"),
        (PictureEncoder(scale=4), r"first_frame has the shape \[3, 8, 8\]"),
    ],
)
def test_a_column_that_is_not_what_was_declared_refuses_the_clip(
    videos: Path, tmp_path: Path, encoder: PictureEncoder, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        encode_folder(videos, tmp_path / "out", replace(encoding(encoder=encoder), facts=PICTURED))


def test_a_family_that_declares_and_does_not_make_is_refused_with_what_makes_it(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not make: first_frame .*: run `acme pictures`"):
        encode_folder(videos, tmp_path / "out", replace(encoding(), facts=PICTURED))


POOLED = Column("pooled", ("P",), "the caption as one vector", "run `acme captions`", of_caption=True)


class PoolingEncoder(PixelEncoder):
    """Makes a column of the caption alone."""

    def encode_columns(self, frames: Tensor | None, caption: str) -> Mapping[str, Tensor]:
        return {"pooled": torch.tensor([float(len(caption)), 0.5])}


def test_captions_alone_have_the_columns_that_follow_from_them(tmp_path: Path) -> None:
    how = replace(encoding(encoder=PoolingEncoder()), facts=replace(FACTS, columns=(POOLED, FIRST)))
    entries, folder = (
        [CaptionEntry(1, "a cat"), CaptionEntry(2, "a red ball")],
        EncodingFolder(tmp_path / "out", Shard.parse("1/1")),
    )
    folder.check(how.origin, [caption_id(entry) for entry in entries], overwrite=False)
    with folder.claimed():
        fates = encode_captions(entries, folder, how)
        folder.finish(fates)
    assert all(fate.encoded for fate in fates)
    rows = open_dataset(tmp_path / "out", latents=False, declared=[POOLED])
    assert [rows[index].tensors["pooled"].tolist() for index in range(2)] == [[5.0, 0.5], [10.0, 0.5]]
