"""distill_core.data.reading: whatever is flipped in a parquet file, it is read, or refused by its name; nothing else is raised."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_sets import clip, write_clips
from tests.data.parquet_cases import plain, put, values

from distill_core.data.examining.examine import examine
from distill_core.data.examining.overview import overview
from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.dataset import open_dataset
from distill_core.errors import DataError

FLIPS = 60


def written(folder: Path, writer: str) -> bytes:
    """A data set as one file, of our own or of another program."""
    if writer == "ours":
        return (write_clips(folder, map(clip, range(4))) / "data-00000.parquet").read_bytes()
    folder.mkdir()
    pq.write_table(plain(), folder / "a.parquet", compression=writer, row_group_size=2)
    return (folder / "a.parquet").read_bytes()


def flipped(content: bytes, rng: random.Random) -> bytes:
    """The same with one bit flipped, in most cases in the footer."""
    footer = int.from_bytes(content[-8:-4], "little") + 8
    place = rng.randrange(len(content) - footer if rng.random() < 0.7 else 0, len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


@pytest.mark.parametrize("writer", ["ours", "none", "snappy"])
def test_a_flipped_bit_anywhere_is_a_fault_of_the_file_or_of_its_rows_or_none(tmp_path: Path, writer: str) -> None:
    content, rng, found = written(tmp_path / "whole", writer), random.Random(0), 0
    file = tmp_path / "a.parquet"
    for _ in range(FLIPS):
        file.write_bytes(flipped(content, rng))
        faults = examine(file, None, lambda _: None).faults
        found += bool(faults)
        for look in (lambda: open_dataset(file, latents=True).summary(), lambda: overview(file).lines()):
            with suppress(DataError):
                look()
    assert found >= FLIPS // 10


def contradiction(content: bytes, file: Path) -> str:
    """What is said of the first flip in a footer that makes it contradict itself."""
    for place in range(len(content) - 8 - int.from_bytes(content[-8:-4], "little"), len(content) - 8):
        file.write_bytes(content[:place] + bytes([content[place] ^ 8]) + content[place + 1 :])
        try:
            open_dataset(file, latents=True)
        except DataError as error:
            if "contradicts itself about rows;" in str(error):
                return str(error)
    return ""


def test_a_footer_that_contradicts_itself_about_rows_is_refused(tmp_path: Path) -> None:
    said = contradiction(written(tmp_path / "whole", "none"), tmp_path / "a.parquet")
    assert said.startswith(f"{tmp_path / 'a.parquet'} is damaged: its footer contradicts itself about rows")


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False, "row_group_size": 1}])
def test_a_text_that_is_not_utf8_is_a_fault_of_its_row(tmp_path: Path, options: Any) -> None:
    bad = pa.array([b"ok", b"caf\xe9", *[b"ok"] * 4], pa.binary()).view(pa.string())
    pq.write_table(put(plain(), "caption", bad), tmp_path / "a.parquet", **options)
    dataset = open_dataset(tmp_path, latents=True)
    assert dataset[0].caption == "ok"
    with pytest.raises(BadRowError, match=r"a\.parquet:1: caption is not UTF-8 text"):
        dataset[1]
    assert list(dataset.kinds.faults) == [1]


def test_every_row_with_an_unknown_dtype_is_known_before_any_is_read(tmp_path: Path) -> None:
    names = [*values("vae_latent_dtype")[:4], "int8", None]
    pq.write_table(put(plain(), "vae_latent_dtype", pa.array(names)), tmp_path / "a.parquet", write_statistics=False)
    reasons = {row: fault.reason for row, fault in open_dataset(tmp_path, latents=True).kinds.faults.items()}
    assert reasons == {
        4: "vae_latent has the dtype 'int8'; known are float16, bfloat16, float32, float64",
        5: "vae_latent_dtype is null",
    }
