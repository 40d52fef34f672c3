"""distill_core.data.encode_videos, .encode_captions, .folder, .store: from a folder of videos to rows, every clip accounted for."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from data_sets import FACTS, clip, write_clips
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.data_sections import open_mixture
from torch import Tensor

from distill_core.config.schema import Data
from distill_core.data.captions import read_captions
from distill_core.data.dataset import open_dataset
from distill_core.data.encode_captions import caption_id, encode_captions
from distill_core.data.encode_videos import encode_videos
from distill_core.data.encoding import Encoding
from distill_core.data.folder import EncodingFolder
from distill_core.data.origin import Origin
from distill_core.data.plan import plan_data
from distill_core.data.report import Fate
from distill_core.data.rules import clip_rules
from distill_core.data.shard import Shard
from distill_core.data.sources import find_sources
from distill_core.data.stream import RowStream
from distill_core.errors import DataError, RunDirectoryError
from distill_core.video import read_video, write_mp4


class PixelEncoder:
    """Encodes without weights: latents are means of pixels, a text has one token a word."""

    def encode_video(self, frames: Tensor) -> Tensor:
        """Means of 8 × 8 pixels of every fourth frame, [3, T, H, W] in [0, 255]."""
        kept = frames[::4].float()
        return kept.unfold(1, 8, 8).unfold(2, 8, 8).mean(dim=(-1, -2)).permute(3, 0, 1, 2)

    def encode_caption(self, captions: Sequence[str]) -> Sequence[Tensor]:
        """[words, 5]: how long each word is."""
        return [torch.tensor([[float(len(word))] * 5 for word in caption.split()]) for caption in captions]


def encoding(heard: list[Fate] | None = None, encoder: Any = None, dtype: torch.dtype = torch.float32) -> Encoding:
    listener = (lambda _: None) if heard is None else heard.extend
    name = str(dtype).removeprefix("torch.")
    return Encoding(encoder or PixelEncoder(), FACTS, dtype, Origin("toy", "model", "e", {"dtype": name}), listener)


def encode_folder(
    folder: Path,
    output: Path,
    how: Encoding | None = None,
    *,
    shard: str = "1/1",
    overwrite: bool = False,
    **options: Any,
) -> tuple[Fate, ...]:
    """Encode a folder of videos as the command line does."""
    how = how or encoding()
    how = replace(how, origin=replace(how.origin, settings={**how.origin.settings, **options}))
    sources, target = find_sources(folder), EncodingFolder(output, Shard.parse(shard))
    target.check(how.origin, [source.name for source in sources], overwrite=overwrite)
    with target.claimed():
        fates = encode_videos(sources, target, how, clip_rules(FACTS, **options))
        target.finish(fates)
    return fates


def encode_lines(path: Path, output: Path, how: Encoding | None = None, shard: str = "1/1") -> tuple[Fate, ...]:
    """Encode a captions file as the command line does."""
    entries, how, target = read_captions(path), how or encoding(), EncodingFolder(output, Shard.parse(shard))
    target.check(how.origin, [caption_id(entry) for entry in entries], overwrite=False)
    with target.claimed():
        fates = encode_captions(entries, target, how)
        target.finish(fates)
    return fates


def rows(output: Path) -> dict[str, dict[str, Any]]:
    """The rows of a data set by their ids."""
    return {row["id"]: row for row in pq.read_table(output).to_pylist()}


def film(
    path: Path, frames: int = 9, height: int = 32, width: int = 32, fps: float = 16, caption: str = "a ball"
) -> Path:
    """Writes a grey video that grows lighter, and its caption beside it."""
    levels = (20 * torch.arange(frames)).clamp(max=255).to(torch.uint8).view(-1, 1, 1, 1)
    write_mp4(path, levels.expand(frames, height, width, 3), fps)
    if caption:
        path.with_suffix(".txt").write_text(caption)
    return path


def report(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "_report.jsonl").read_text().splitlines()]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Clips of every fate."""
    folder = tmp_path / "videos"
    film(folder / "fits.mp4", caption="a small red ball")
    film(folder / "large.mp4", frames=12, height=64, width=96)
    film(folder / "fast.mp4", frames=18, fps=32)
    film(folder / "short.mp4", frames=4)
    film(folder / "silent.mp4", caption="")
    (folder / "broken.mp4").write_bytes(b"not a video")
    (folder / "broken.txt").write_text("a caption")
    (folder / "captions.jsonl").write_text('{"video": "gone.mp4", "caption": "a lost ball"}\n')
    return folder


def test_every_clip_has_its_fate_in_the_report_and_with_the_listener(videos: Path, tmp_path: Path) -> None:
    heard: list[Fate] = []
    fates = encode_folder(videos, tmp_path / "out", encoding(heard), num_frames=9, height=32, width=32, fps=16)
    assert tuple(heard) == fates
    lines = {line["name"]: line for line in report(tmp_path / "out")}
    assert {name: line["changes"] for name, line in lines.items() if line["encoded"]} == {
        "fast.mp4": ["resampled from 32 to 16 frames per second"],
        "fits.mp4": [],
        "large.mp4": ["resized and cropped from 96x64 to 32x32", "cut to its first 9 frames"],
    }
    assert {name: line["reason"] for name, line in lines.items() if not line["encoded"]} == {
        "broken.mp4": f"{videos / 'broken.mp4'} cannot be read as a video: Invalid data found when processing input",
        "short.mp4": "it has 4 frames at 16 per second, 9 are asked for",
        "silent.mp4": "it has no caption",
        "gone.mp4": "the captions file names it and it is not in the folder",
    }
    assert lines["large.mp4"]["pixels"] == [9, 32, 32]
    assert (lines["fits.mp4"]["latent"], lines["fits.mp4"]["text"]) == ([3, 3, 4, 4], [4, 5])


def test_rows_hold_what_the_encoders_gave(videos: Path, tmp_path: Path) -> None:
    encode_folder(videos, tmp_path / "out", num_frames=9, height=32, width=32, fps=16)
    dataset = open_dataset(tmp_path / "out", latents=True)
    assert [dataset[index].id for index in range(len(dataset))] == ["fast.mp4", "fits.mp4", "large.mp4"]
    row = dataset[1]
    assert row.latent_CTHW is not None
    assert torch.equal(row.latent_CTHW, PixelEncoder().encode_video(read_video(videos / "fits.mp4").frames))
    assert torch.equal(row.text_LD, PixelEncoder().encode_caption(["a small red ball"])[0])
    (stored,) = (
        line for line in pq.read_table(tmp_path / "out" / "data-00000.parquet").to_pylist() if line["id"] == "fast.mp4"
    )
    for name in ("vae_latent_bytes", "text_embedding_bytes", "latent_key", "text_key"):
        assert stored.pop(name)
    assert stored == {
        "id": "fast.mp4",
        "vae_latent_shape": [3, 3, 4, 4],
        "vae_latent_dtype": "float32",
        "text_embedding_shape": [2, 5],
        "text_embedding_dtype": "float32",
        "file_name": "fast.mp4",
        "caption": "a ball",
        "media_type": "video",
        "width": 32,
        "height": 32,
        "num_frames": 9,
        "duration_sec": 9 / 16,
        "fps": 16.0,
        "start_sec": 0.0,
        "changes": ["resampled from 32 to 16 frames per second"],
    }


def test_what_is_encoded_fits_the_model_and_streams(videos: Path, tmp_path: Path) -> None:
    encode_folder(videos, tmp_path / "out", num_frames=9, height=32, width=32)
    data = Data(path=str(tmp_path / "out"))
    mixture = open_mixture(data, latents=True)
    plan = plan_data(mixture, [FACTS], data)
    assert plan.latent_shape == (3, 3, 4, 4)
    stream = RowStream(mixture, plan.buckets, seed=0, batch_size=2)
    assert {row.caption for row in next(stream).rows} <= {"a ball", "a small red ball"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_tensors_are_stored_in_the_dtype_asked_for(tmp_path: Path, dtype: torch.dtype) -> None:
    film(tmp_path / "in" / "a.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out", encoding(dtype=dtype))
    row = open_dataset(tmp_path / "out", latents=True)[0]
    assert row.latent_CTHW is not None
    assert row.latent_CTHW.dtype == row.text_LD.dtype == dtype


def test_the_same_folder_makes_the_same_bytes(videos: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        encode_folder(videos, tmp_path / name, num_frames=9, height=32, width=32)
    for file in ("data-00000.parquet", "_report.jsonl"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


class Infinite(PixelEncoder):
    def encode_video(self, frames: Tensor) -> Tensor:
        return super().encode_video(frames) * 1000  # beyond float16


class TooWide(PixelEncoder):
    def encode_video(self, frames: Tensor) -> Tensor:
        return super().encode_video(frames)[:2]


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (Infinite(), "its latent is not finite in float16; try another --dtype"),
        (TooWide(), "its latents do not fit the model: they have 2 channels, the model's latents have 3"),
    ],
)
def test_a_latent_that_cannot_be_trained_on_is_skipped_with_the_reason(
    tmp_path: Path, encoder: PixelEncoder, reason: str
) -> None:
    film(tmp_path / "in" / "a.mp4")
    with pytest.raises(DataError, match=f"nothing could be encoded of 1: 1 × {reason}"):
        encode_folder(tmp_path / "in", tmp_path / "out", encoding(encoder=encoder, dtype=torch.float16))


def test_nothing_accepted_is_an_error_that_leaves_nothing_behind(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4", caption="")
    film(tmp_path / "in" / "b.mp4", caption="")
    with pytest.raises(DataError, match="nothing could be encoded of 2: 2 × it has no caption"):
        encode_folder(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_clips_of_several_sizes_make_buckets(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4")
    film(tmp_path / "in" / "c.mp4", height=64)
    encode_folder(tmp_path / "in", tmp_path / "out")
    data = Data(path=str(tmp_path / "out"))
    plan = plan_data(open_mixture(data, latents=True), [FACTS], data)
    assert [bucket.latent_shape for bucket in plan.buckets] == [(3, 3, 4, 4), (3, 3, 8, 4)]


def test_a_long_video_makes_several_rows_with_ids_of_their_own(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4", frames=12)
    fates = encode_folder(tmp_path / "in", tmp_path / "out", num_frames=5, clips_per_video=9)
    assert [fate.name for fate in fates] == ["a.mp4", "a.mp4#2"]
    found = rows(tmp_path / "out")
    assert [(row["file_name"], row["start_sec"]) for row in found.values()] == [("a.mp4", 0.0), ("a.mp4", 5 / 16)]
    assert found["a.mp4#2"]["changes"][-1] == "the last 2 frames after it are too few for a clip"


# Encoding again


class Counting(PixelEncoder):
    """Notes what it is asked to encode; is interrupted at the video number ``stop``."""

    def __init__(self, stop: int = -1) -> None:
        self.videos = 0
        self.captions: list[str] = []
        self.stop = stop

    def encode_video(self, frames: Tensor) -> Tensor:
        if self.videos == self.stop:
            raise KeyboardInterrupt
        self.videos += 1
        return super().encode_video(frames)

    def encode_caption(self, captions: Sequence[str]) -> Sequence[Tensor]:
        self.captions += captions
        return super().encode_caption(captions)


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
    with pytest.raises(RunDirectoryError, match=r"data of other settings \(num_frames 9, not 5\); .*--overwrite"):
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


# Shards


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


# The output folder


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
    monkeypatch.setattr("distill_core.data.folder.os.replace", refuse)
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


def test_any_parquet_reader_opens_the_folder_as_it_is(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["_report.jsonl", "data-00000.parquet"]
    assert pq.read_table(tmp_path / "out").num_rows == 1
