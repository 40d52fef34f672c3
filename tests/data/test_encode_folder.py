"""distill_core.data.encoding.folder: the output appears as a whole, and what others have made stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from data_sets import clip, write_clips
from tiny_encoding import Counting, encode_folder, encoding, film, rows

from distill_core.data.encoding.folder import EncodingFolder
from distill_core.data.encoding.shard import Shard
from distill_core.data.reading.origin import Origin
from distill_core.errors import RunDirectoryError


def test_an_interrupted_encoding_leaves_the_old_data_in_place(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out")
    before = (tmp_path / "out" / "data-00000.parquet").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        encode_folder(tmp_path / "in", tmp_path / "out", encoding(encoder=Counting(0)), overwrite=True, num_frames=5)
    assert (tmp_path / "out" / "data-00000.parquet").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_new_data_replace_old_ones_as_a_whole(tmp_path: Path) -> None:
    write_clips(tmp_path / "out", [clip(0)])
    (tmp_path / "out" / "data-00000.parquet").rename(tmp_path / "out" / "data-00007.parquet")
    film(tmp_path / "in" / "a.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["_report.jsonl", "data-00008.parquet"]
    assert list(rows(tmp_path / "out")) == ["a.mp4"]


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(tmp_path / "in" / "a.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out")
    before = rows(tmp_path / "out")
    film(tmp_path / "in" / "a.mp4", height=64)

    def refuse(source: Path, target: Path) -> None:
        if source.name == ".out.encoding":
            raise OSError("the disk is gone")
        rename(source, target)

    rename = os.replace
    monkeypatch.setattr("distill_core.data.encoding.folder.os.replace", refuse)
    with pytest.raises(OSError, match="the disk is gone"):
        encode_folder(tmp_path / "in", tmp_path / "out")
    assert rows(tmp_path / "out") == before


def check(output: Path, *, overwrite: bool) -> None:
    EncodingFolder(output, Shard()).check(Origin("toy", "model", "e"), [], overwrite=overwrite)


def test_an_output_that_others_have_made_is_refused_without_overwrite(tmp_path: Path) -> None:
    check(tmp_path / "out", overwrite=False)
    (tmp_path / "out").mkdir()
    check(tmp_path / "out", overwrite=False)
    write_clips(tmp_path / "out", [clip(0)])
    with pytest.raises(RunDirectoryError, match=r"out is not empty, .*--overwrite"):
        check(tmp_path / "out", overwrite=False)
    check(tmp_path / "out", overwrite=True)


def test_overwrite_replaces_data_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunDirectoryError, match=r"holds thesis\.tex, which is no part of a data set"):
        check(tmp_path, overwrite=True)
    with pytest.raises(RunDirectoryError, match="is a file"):
        check(tmp_path / "thesis.tex", overwrite=True)


def test_an_output_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file" / "out", Path("/proc/out")):
        folder = EncodingFolder(output, Shard())
        with pytest.raises(RunDirectoryError, match=r"--output .*out cannot be made: "), folder.claimed():
            pass
