"""distill_core.data.encoding.encode_captions: captions alone to text-only rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import torch
from tiny_encoding import Counting, PixelEncoder, encode_lines, encoding, report

from distill_core.data.encoding.report import Fate
from distill_core.data.reading.dataset import open_dataset


def test_captions_alone_become_text_only_data(tmp_path: Path) -> None:
    captions = [f"a ball number {number}" for number in range(40)]
    (tmp_path / "captions.txt").write_text("\n".join(captions))
    heard: list[Fate] = []
    encode_lines(tmp_path / "captions.txt", tmp_path / "out", encoding(heard))
    dataset = open_dataset(tmp_path / "out", latents=False)
    assert [dataset[index].caption for index in range(len(dataset))] == captions
    assert dataset[7].id == "caption-000008"
    assert torch.equal(dataset[7].text_LD, PixelEncoder().encode_caption([captions[7]])[0])
    assert [line["name"] for line in report(tmp_path / "out")] == [f"caption-{number:06d}" for number in range(1, 41)]
    assert len(heard) == 40


def test_captions_that_are_added_are_encoded_and_the_others_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    encode_lines(tmp_path / "a.txt", tmp_path / "out")
    (tmp_path / "a.txt").write_text("one\nthree\ntwo\n")
    encoder = Counting()
    fates = encode_lines(tmp_path / "a.txt", tmp_path / "out", encoding(encoder=encoder))
    assert encoder.captions == ["three"]
    assert [fate.kept for fate in fates] == [True, False, False]
    assert {row["id"]: row["caption"] for row in pq.read_table(tmp_path / "out").to_pylist()} == {
        "caption-000001": "one",
        "caption-000002": "three",
        "caption-000003": "two",
    }


def test_an_empty_caption_is_skipped_and_the_others_keep_their_own_embedding(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text('caption\na ball\n""\na large box\n')
    fates = encode_lines(tmp_path / "captions.csv", tmp_path / "out")
    assert [(fate.encoded, fate.reason) for fate in fates] == [(True, ""), (False, "it has no caption"), (True, "")]
    row = open_dataset(tmp_path / "out", latents=False)[1]
    assert (row.caption, row.text_LD[:, 0].tolist()) == ("a large box", [1.0, 5.0, 3.0])
