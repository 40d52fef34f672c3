"""distill_core.data.encode: from a folder of videos to rows on the way to a model, with every clip accounted for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from data_sets import FACTS
from torch import Tensor

from distill_core.config.schema import Data
from distill_core.data.captions import read_captions
from distill_core.data.clips import clip_rules
from distill_core.data.dataset import open_dataset
from distill_core.data.encode import Encoding, Fate, encode_captions, encode_videos
from distill_core.data.fit import check_dataset
from distill_core.data.folder import check_output, published
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
    listener = (lambda _: None) if heard is None else heard.append
    return Encoding(encoder or PixelEncoder(), FACTS, dtype, listener)


def encode_folder(folder: Path, output: Path, how: Encoding | None = None, **options: Any) -> tuple[Fate, ...]:
    """Encode a folder of videos as the command line does."""
    rules = clip_rules(FACTS, **{"num_frames": None, "height": None, "width": None, "fps": None, **options})
    return encode_videos(find_sources(folder), output, how or encoding(), rules)


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
    return [json.loads(line) for line in (output / "report.jsonl").read_text().splitlines()]


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
        "large.mp4": ["cut to its first 9 frames", "resized and cropped from 96x64 to 32x32"],
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
    del stored["vae_latent_bytes"], stored["text_embedding_bytes"]
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
    }


def test_what_is_encoded_fits_the_model_and_streams(videos: Path, tmp_path: Path) -> None:
    encode_folder(videos, tmp_path / "out", num_frames=9, height=32, width=32)
    dataset = open_dataset(tmp_path / "out", latents=True)
    assert check_dataset(dataset.summary(), FACTS, Data(path="out")) == (3, 3, 4, 4)
    rows = next(RowStream(dataset, seed=0, batch_size=2)).rows
    assert {row.caption for row in rows} <= {"a ball", "a small red ball"}


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
    for file in ("data-00000.parquet", "report.jsonl"):
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


def test_clips_of_several_sizes_are_refused_before_any_is_encoded(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4")
    film(tmp_path / "in" / "b.mp4")
    film(tmp_path / "in" / "c.mp4", height=64)
    heard: list[Fate] = []
    with pytest.raises(DataError, match=r"2 sizes: 32x32 \(2 clips\), 32x64 \(1 clips\).* set --height and --width"):
        encode_folder(tmp_path / "in", tmp_path / "out", encoding(heard))
    assert heard == []


def test_an_interrupted_encoding_leaves_the_old_data_in_place(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out")
    before = (tmp_path / "out" / "data-00000.parquet").read_bytes()

    def interrupt(_: Fate) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_folder(tmp_path / "in", tmp_path / "out", replace(encoding(), listener=interrupt))
    assert (tmp_path / "out" / "data-00000.parquet").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_new_data_replace_old_ones_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data-00007.parquet").write_bytes(b"old")
    film(tmp_path / "in" / "a.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["data-00000.parquet", "report.jsonl"]


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()

    def write() -> None:
        with published(tmp_path / "out") as folder:
            folder.rmdir()  # so that renaming it fails

    with pytest.raises(FileNotFoundError):
        write()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old"]


def test_an_output_that_holds_anything_is_refused_without_overwrite(tmp_path: Path) -> None:
    check_output(tmp_path / "out", overwrite=False)
    (tmp_path / "out").mkdir()
    check_output(tmp_path / "out", overwrite=False)
    (tmp_path / "out" / "data-00000.parquet").touch()
    with pytest.raises(RunDirectoryError, match=r"out is not empty; .*--overwrite"):
        check_output(tmp_path / "out", overwrite=False)
    check_output(tmp_path / "out", overwrite=True)


def test_overwrite_replaces_data_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunDirectoryError, match=r"holds thesis\.tex, which is no part of a data set"):
        check_output(tmp_path, overwrite=True)
    with pytest.raises(RunDirectoryError, match="is a file"):
        check_output(tmp_path / "thesis.tex", overwrite=True)


def test_captions_alone_become_text_only_data(tmp_path: Path) -> None:
    captions = [f"a ball number {number}" for number in range(40)]
    (tmp_path / "captions.txt").write_text("\n".join(captions))
    heard: list[Fate] = []
    encode_captions(read_captions(tmp_path / "captions.txt"), tmp_path / "out", encoding(heard))
    dataset = open_dataset(tmp_path / "out", latents=False)
    assert [dataset[index].caption for index in range(len(dataset))] == captions
    assert dataset[7].id == "caption-000008"
    assert torch.equal(dataset[7].text_LD, PixelEncoder().encode_caption([captions[7]])[0])
    assert [line["name"] for line in report(tmp_path / "out")] == [f"line {number}" for number in range(1, 41)]
    assert len(heard) == 40


def test_an_empty_caption_is_skipped_and_the_others_keep_their_own_embedding(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text('caption\na ball\n""\na large box\n')
    fates = encode_captions(read_captions(tmp_path / "captions.csv"), tmp_path / "out", encoding())
    assert [(fate.encoded, fate.reason) for fate in fates] == [(True, ""), (False, "it has no caption"), (True, "")]
    row = open_dataset(tmp_path / "out", latents=False)[1]
    assert (row.caption, row.text_LD[:, 0].tolist()) == ("a large box", [1.0, 5.0, 3.0])


def test_nothing_but_parquet_and_a_report_is_written(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["data-00000.parquet", "report.jsonl"]
