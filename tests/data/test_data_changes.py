"""A data set that somebody writes to while a run reads it: later epochs do not verify each byte, so they see whether anybody has."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_sets import clip, write_clips

from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.dataset import ParquetDataset, open_dataset
from distill_core.errors import DataError


@pytest.fixture
def read_once(tmp_path: Path) -> ParquetDataset:
    """Two rows, the first of which has been read."""
    dataset = open_dataset(write_clips(tmp_path, map(clip, range(2))), latents=True)
    assert dataset[0].id == dataset[0].id == "clip-0"
    return dataset


def test_a_latent_that_is_damaged_after_the_first_epoch_is_found(read_once: ParquetDataset) -> None:
    path = read_once.files[0].path
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data-00000.parquet has been written to since the run opened it"):
        read_once[0]


def test_a_file_that_is_gone_after_the_first_epoch_is_named(read_once: ParquetDataset) -> None:
    read_once.files[0].path.unlink()
    with pytest.raises(DataError, match=r"data-00000.parquet cannot be read any more: No such file or directory"):
        read_once[0]


def test_that_is_no_bad_row_which_a_run_could_pass_over(read_once: ParquetDataset) -> None:
    read_once.files[0].path.touch()
    with pytest.raises(DataError) as raised:
        read_once[0]
    assert not isinstance(raised.value, BadRowError)
