"""distill_core.data.encoding.encode_videos: from a folder of videos to rows, every clip accounted for."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from data_sets import FACTS
from tests.data.data_sections import open_mixture
from tiny_encoding import Counting, PixelEncoder, encode_folder, encoding, film, report, rows, write_videos
from torch import Tensor

from distill_core.config.schema import Data
from distill_core.data.encoding import clips
from distill_core.data.encoding.report import Fate
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.plan import plan_data
from distill_core.data.reading.stream import RowStream
from distill_core.errors import DataError
from distill_core.video.film import Film
from distill_core.video.reading import read_video


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Clips of every fate."""
    return write_videos(tmp_path / "videos")


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
        "broken.mp4": "cannot be read as a video: Invalid data found when processing input",
        "short.mp4": "it has 4 frames at 16 per second, 9 are asked for",
        "silent.mp4": "it has no caption",
        "gone.mp4": "captions.jsonl:1 names it and it is not in the folder",
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


def test_any_parquet_reader_opens_the_folder_as_it_is(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["_report.jsonl", "data-00000.parquet"]
    assert pq.read_table(tmp_path / "out").num_rows == 1


def test_whatever_goes_wrong_with_one_clip_the_others_are_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        film(tmp_path / "in" / f"{name}.mp4")
    opened = clips.open_film

    def fail_at_b(path: Path) -> AbstractContextManager[Film]:
        if path.name == "b.mp4":
            raise RuntimeError("something that nobody foresaw")
        return opened(path)

    monkeypatch.setattr(clips, "open_film", fail_at_b)
    fates = encode_folder(tmp_path / "in", tmp_path / "out")
    assert [fate.reason for fate in fates] == [
        "",
        "it cannot be looked at: RuntimeError: something that nobody foresaw",
        "",
    ]
    assert list(rows(tmp_path / "out")) == ["a.mp4", "c.mp4"]


def test_a_clip_whose_name_is_no_utf_8_is_a_row_like_any_other(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4")
    for suffix in (b".mp4", b".txt"):
        (tmp_path / "in" / f"a{suffix.decode()}").rename(tmp_path / "in" / os.fsdecode(b"ma\xf1ana" + suffix))
    encode_folder(tmp_path / "in", tmp_path / "out")
    assert list(rows(tmp_path / "out")) == ["ma\\udcf1ana.mp4"]
    assert [line["name"] for line in report(tmp_path / "out")] == ["ma\\udcf1ana.mp4"]


def test_another_decoder_is_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "in" / "a.mp4")
    encode_folder(tmp_path / "in", tmp_path / "out")
    monkeypatch.setattr("distill_core.data.encoding.keys.decoder_version", lambda: "PyAV 99")
    encoder = Counting()
    encode_folder(tmp_path / "in", tmp_path / "out", encoding(encoder=encoder))
    assert (encoder.videos, encoder.captions) == (1, [])
    assert len(rows(tmp_path / "out")) == 1
