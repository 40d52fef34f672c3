"""distill_core.data.encoding.encode_videos and .store: what has been encoded is not encoded again, and nothing stale is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_encoding import Counting, encode_folder, encoding, film, rows, write_videos

from distill_core.data.reading.dataset import open_dataset
from distill_core.errors import RunDirectoryError


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Clips of every fate."""
    return write_videos(tmp_path / "videos")


def test_a_caption_of_several_clips_is_encoded_once(tmp_path: Path) -> None:
    for name in "abc":
        film(tmp_path / "in" / f"{name}.mp4", frames=10, caption="a box" if name == "c" else "a ball")
    encoder = Counting()
    encode_folder(tmp_path / "in", tmp_path / "out", encoding(encoder=encoder), num_frames=5, clips_per_video=2)
    assert (encoder.videos, encoder.captions) == (6, ["a ball", "a box"])


def test_the_same_command_again_encodes_nothing_and_changes_nothing(videos: Path, tmp_path: Path) -> None:
    first = encode_folder(videos, tmp_path / "out", num_frames=9, height=32, width=32)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    encoder = Counting()
    again = encode_folder(videos, tmp_path / "out", encoding(encoder=encoder), num_frames=9, height=32, width=32)
    assert (encoder.videos, encoder.captions) == (0, [])
    assert [replace(fate, kept=False) for fate in again] == list(first)
    assert {fate.kept for fate in again if fate.encoded} == {True}
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_only_what_is_new_or_changed_is_encoded(tmp_path: Path) -> None:
    for name in "abc":
        film(tmp_path / "in" / f"{name}.mp4", height=32 + 32 * (name == "b"))
    encode_folder(tmp_path / "in", tmp_path / "out")
    film(tmp_path / "in" / "b.mp4", height=96)
    film(tmp_path / "in" / "d.mp4", height=128)
    encoder = Counting()
    fates = encode_folder(tmp_path / "in", tmp_path / "out", encoding(encoder=encoder))
    assert (encoder.videos, encoder.captions) == (2, [])
    assert [fate.kept for fate in fates] == [True, False, True, False]
    assert {name: row["height"] for name, row in rows(tmp_path / "out").items()} == {
        "a.mp4": 32,
        "b.mp4": 96,
        "c.mp4": 32,
        "d.mp4": 128,
    }


def test_a_new_caption_or_name_does_not_encode_the_video_again(tmp_path: Path) -> None:
    for name in "ab":
        film(tmp_path / "in" / f"{name}.mp4", frames=10, height=32 + 32 * (name == "b"))
    encode_folder(tmp_path / "in", tmp_path / "out", num_frames=5, clips_per_video=2)
    before = rows(tmp_path / "out")
    (tmp_path / "in" / "a.txt").write_text("a very large ball")
    for suffix in ("mp4", "txt"):
        (tmp_path / "in" / f"b.{suffix}").rename(tmp_path / "in" / f"c.{suffix}")
    encoder = Counting()
    encode_folder(
        tmp_path / "in", tmp_path / "out", encoding(encoder=encoder), overwrite=True, num_frames=5, clips_per_video=2
    )
    assert (encoder.videos, encoder.captions) == (0, ["a very large ball"])
    after = rows(tmp_path / "out")
    assert sorted(after) == ["a.mp4", "a.mp4#2", "c.mp4", "c.mp4#2"]
    assert after["a.mp4#2"]["caption"] == "a very large ball"
    assert after["a.mp4#2"]["text_embedding_shape"] == [4, 5]
    for new, old in (("a.mp4#2", "a.mp4#2"), ("c.mp4", "b.mp4")):
        for column in ("vae_latent_bytes", "latent_key", "start_sec", "changes", "fps", "num_frames"):
            assert after[new][column] == before[old][column]


@pytest.mark.parametrize("stop", range(4))
def test_a_stopped_encoding_goes_on_where_it_was(tmp_path: Path, stop: int) -> None:
    for number in range(4):
        film(tmp_path / "in" / f"{number}.mp4", height=32 + 32 * number)
    encode_folder(tmp_path / "in", tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        encode_folder(tmp_path / "in", tmp_path / "out", encoding(encoder=Counting(stop)))
    assert not (tmp_path / "out").exists()
    encoder = Counting()
    encode_folder(tmp_path / "in", tmp_path / "out", encoding(encoder=encoder))
    assert encoder.videos == 4 - stop
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    assert (tmp_path / "out" / "_report.jsonl").read_bytes() == (tmp_path / "whole" / "_report.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "whole"]


def test_what_was_encoded_for_other_settings_is_not_taken(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4", height=32)
    film(tmp_path / "in" / "b.mp4", height=64)
    with pytest.raises(KeyboardInterrupt):
        encode_folder(tmp_path / "in", tmp_path / "out", encoding(encoder=Counting(1)))
    encode_folder(tmp_path / "in", tmp_path / "out", num_frames=5)
    assert {row["num_frames"] for row in rows(tmp_path / "out").values()} == {5}


def test_data_of_other_settings_are_not_added_to(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out", num_frames=5)
    with pytest.raises(
        RunDirectoryError, match=r"data of other settings \(num_frames: 5 there, 9 here\); .*--overwrite"
    ):
        encode_folder(tmp_path / "in", tmp_path / "out", num_frames=9)
    other = encoding()
    other = replace(other, origin=replace(other.origin, encoders="x"))
    with pytest.raises(RunDirectoryError, match="other settings \\(the model's encoders\\)"):
        encode_folder(tmp_path / "in", tmp_path / "out", other, num_frames=5)


def test_rows_whose_videos_are_gone_are_not_dropped_unasked(tmp_path: Path) -> None:
    for name in "ab":
        film(tmp_path / "in" / f"{name}.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "a.mp4").unlink()
    with pytest.raises(RunDirectoryError, match=r"holds a\.mp4, which is not in the source"):
        encode_folder(tmp_path / "in", tmp_path / "out")
    encode_folder(tmp_path / "in", tmp_path / "out", overwrite=True)
    assert sorted(rows(tmp_path / "out")) == ["b.mp4"]


def test_a_damaged_row_is_no_source_of_latents(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out")
    file = tmp_path / "out" / "data-00000.parquet"
    (row,) = rows(tmp_path / "out").values()
    with file.open("r+b") as opened:
        opened.seek(file.read_bytes().index(row["vae_latent_bytes"]))
        opened.write(b"damaged")
    (tmp_path / "in" / "a.txt").write_text("another caption")
    encoder = Counting()
    encode_folder(tmp_path / "in", tmp_path / "out", encoding(encoder=encoder))
    assert encoder.videos == 1
    assert open_dataset(tmp_path / "out", latents=True)[0].caption == "another caption"
