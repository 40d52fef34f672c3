"""distill_core.data.encoding.shard and .folder: several processes make one data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_encoding import Counting, encode_folder, encoding, film, report, rows

from distill_core.data.encoding.folder import EncodingFolder
from distill_core.data.encoding.shard import Shard
from distill_core.errors import DataError, RunDirectoryError


def test_shards_make_what_one_process_makes_and_the_last_publishes_it(tmp_path: Path) -> None:
    for number in range(5):
        film(tmp_path / "in" / f"{number}.mp4", frames=10, height=32 + 32 * number)
    film(tmp_path / "in" / "x.mp4", caption="")
    options: dict[str, Any] = {"num_frames": 5, "clips_per_video": 2}
    encode_folder(tmp_path / "in", tmp_path / "one", **options)
    for shard in ("3/3", "1/3", "2/3"):
        assert not (tmp_path / "out").exists()
        encode_folder(tmp_path / "in", tmp_path / "out", shard=shard, **options)
    assert rows(tmp_path / "out") == rows(tmp_path / "one")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {*(f"data-{n}-of-3-00000.parquet" for n in (1, 2, 3)), "_report.jsonl"}
    by_name = sorted(report(tmp_path / "out"), key=lambda line: str(line["name"]))
    assert by_name == sorted(report(tmp_path / "one"), key=lambda line: str(line["name"]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "one", "out"]


def test_a_shard_that_is_given_again_takes_its_own_place(tmp_path: Path) -> None:
    for number in range(4):
        film(tmp_path / "in" / f"{number}.mp4", height=32 + 32 * number)
    encoder = Counting()
    for shard in ("1/2", "1/2", "2/2"):
        encode_folder(tmp_path / "in", tmp_path / "out", encoding(encoder=encoder), shard=shard)
    assert encoder.videos == 4
    assert len(rows(tmp_path / "out")) == 4


def test_one_process_at_a_time_makes_a_shard(tmp_path: Path) -> None:
    folder = EncodingFolder(tmp_path / "out", Shard(1, 2))
    with folder.claimed():
        with pytest.raises(RunDirectoryError, match=r"another process is making .*--shard"), folder.claimed():
            pass
        with EncodingFolder(tmp_path / "out", Shard(2, 2)).claimed():
            pass


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "1/2/3", "a/b"])
def test_a_shard_is_one_of_so_many(text: str) -> None:
    with pytest.raises(DataError, match="of the form I/N"):
        Shard.parse(text)


def test_a_process_of_torchrun_has_the_shard_of_its_rank() -> None:
    assert Shard.of_process({"RANK": "2", "WORLD_SIZE": "4"}) == Shard(3, 4)
    assert Shard.of_process({"RANK": "2"}) == Shard.of_process({}) == Shard(1, 1)


@settings(max_examples=50)
@given(items=st.integers(0, 20), count=st.integers(1, 6))
def test_shards_share_all_items_without_overlap(items: int, count: int) -> None:
    parts = [shard.part(range(items)) for shard in Shard(1, count).siblings()]
    assert sorted(item for part in parts for item in part) == list(range(items))
