"""distill_core.data.encoding.writer and .columns: the two schemas to the letter, laid out to be read in any order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from data_sets import caption, clip, write_captions, write_clips

from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord

TENSOR = [("bytes", pa.binary()), ("shape", pa.list_(pa.int64())), ("dtype", pa.string())]
TEXT = [(f"text_embedding_{part}", kind) for part, kind in TENSOR]
LATENT = [(f"vae_latent_{part}", kind) for part, kind in TENSOR]
STRINGS = [("file_name", pa.string()), ("caption", pa.string()), ("media_type", pa.string())]
NUMBERS = [(name, pa.int64()) for name in ("width", "height", "num_frames")]
OURS = [
    ("start_sec", pa.float64()),
    ("changes", pa.list_(pa.string())),
    ("latent_key", pa.string()),
    ("text_key", pa.string()),
]
RATES = [("duration_sec", pa.float64()), ("fps", pa.float64())]


def columns_of(file: Path) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in pq.read_schema(file)]


def test_a_t2v_file_has_the_columns_of_the_schema_in_its_order(tmp_path: Path) -> None:
    write_clips(tmp_path, [clip(0)])
    columns = columns_of(tmp_path / "data-00000.parquet")
    assert columns == [("id", pa.string()), *LATENT, *TEXT, *STRINGS, *NUMBERS, *RATES, *OURS]


def test_a_text_only_file_has_the_columns_of_the_schema_in_its_order(tmp_path: Path) -> None:
    write_captions(tmp_path, [caption(0)])
    columns = columns_of(tmp_path / "data-00000.parquet")
    ours = [("changes", pa.list_(pa.string())), ("text_key", pa.string())]
    assert columns == [("id", pa.string()), *TEXT, ("caption", pa.string()), *ours]


def test_a_row_holds_the_raw_little_endian_bytes_of_its_tensors(tmp_path: Path) -> None:
    record = clip(0)
    write_clips(tmp_path, [record])
    (row,) = pq.read_table(tmp_path / "data-00000.parquet").to_pylist()
    assert row == {
        "id": "clip-0",
        "vae_latent_bytes": record.latent_CTHW.numpy().astype("<f4").tobytes(),
        "vae_latent_shape": [3, 2, 4, 4],
        "vae_latent_dtype": "float32",
        "text_embedding_bytes": record.text_LD.numpy().astype("<f4").tobytes(),
        "text_embedding_shape": [7, 5],
        "text_embedding_dtype": "float32",
        "file_name": "clip-0.mp4",
        "caption": "caption 0",
        "media_type": "video",
        "width": 32,
        "height": 32,
        "num_frames": 5,
        "duration_sec": 0.3125,
        "fps": 16.0,
        "start_sec": 0.0,
        "changes": [],
        "latent_key": "",
        "text_key": "",
    }


def test_a_latent_that_is_a_view_in_another_order_is_stored_in_its_own(tmp_path: Path) -> None:
    record = clip(0, shape=(4, 2, 4, 3))
    turned = clip(0).__class__(**{**vars(record), "latent_CTHW": record.latent_CTHW.permute(3, 1, 2, 0)})
    write_clips(tmp_path, [turned])
    (row,) = pq.read_table(tmp_path / "data-00000.parquet").to_pylist()
    assert row["vae_latent_bytes"] == turned.latent_CTHW.numpy().tobytes()


def test_files_are_cut_at_the_number_of_rows(tmp_path: Path) -> None:
    write_clips(tmp_path, map(clip, range(5)), rows_per_file=2)
    rows = {path.name: pq.read_metadata(path).num_rows for path in tmp_path.iterdir()}
    assert rows == {"data-00000.parquet": 2, "data-00001.parquet": 2, "data-00002.parquet": 1}


def test_no_empty_file_follows_a_full_one(tmp_path: Path) -> None:
    write_clips(tmp_path, map(clip, range(4)), rows_per_file=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data-00000.parquet", "data-00001.parquet"]


def test_a_large_row_has_a_row_group_of_its_own_and_small_rows_share_one(tmp_path: Path) -> None:
    write_clips(tmp_path / "large", [clip(number, shape=(3, 2, 256, 256)) for number in range(3)])
    write_clips(tmp_path / "small", [clip(number) for number in range(3)])
    assert pq.read_metadata(tmp_path / "large" / "data-00000.parquet").num_row_groups == 3
    assert pq.read_metadata(tmp_path / "small" / "data-00000.parquet").num_row_groups == 1


def test_pages_are_plain_bytes(tmp_path: Path) -> None:
    write_clips(tmp_path, [clip(0)])
    column = pq.read_metadata(tmp_path / "data-00000.parquet").row_group(0).column(1)
    assert (column.compression, column.is_stats_set, column.has_dictionary_page) == ("UNCOMPRESSED", False, False)


def test_files_are_cut_at_their_size(tmp_path: Path) -> None:
    with ParquetWriter(tmp_path, T2V_SCHEMA, file_bytes=1000) as writer:
        for number in range(5):
            writer.add(clip(number))  # 524 bytes each
    assert [pq.read_metadata(path).num_rows for path in sorted(tmp_path.iterdir())] == [2, 2, 1]


def test_rows_that_are_added_together_are_in_one_file(tmp_path: Path) -> None:
    with ParquetWriter(tmp_path, T2V_SCHEMA, rows_per_file=2) as writer:
        writer.add(clip(0))
        writer.add(clip(1), clip(2), clip(3))
        writer.add(clip(4))
    assert [pq.read_metadata(path).num_rows for path in sorted(tmp_path.iterdir())] == [4, 1]


def test_writing_goes_on_after_the_files_of_the_same_name(tmp_path: Path) -> None:
    write_clips(tmp_path, map(clip, range(2)), rows_per_file=1)
    (tmp_path / "data-00000.parquet").unlink()
    with ParquetWriter(tmp_path, T2V_SCHEMA, name="other") as writer:
        writer.add(clip(7))
    write_clips(tmp_path, [clip(2)])
    names = ["data-00001.parquet", "data-00002.parquet", "other-00000.parquet"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_file_has_its_name_only_when_it_is_whole_and_an_error_ends_it_early(tmp_path: Path) -> None:
    def records_until_an_interruption() -> Iterator[ClipRecord]:
        yield clip(0, shape=(3, 2, 256, 256))
        yield clip(1)
        assert [path.name for path in tmp_path.iterdir()] == [".data-00000.parquet.tmp"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_clips(tmp_path, records_until_an_interruption())
    assert [path.name for path in tmp_path.iterdir()] == ["data-00000.parquet"]
    assert pq.read_table(tmp_path).column("id").to_pylist() == ["clip-0", "clip-1"]


def test_bfloat16_is_stored_bit_by_bit(tmp_path: Path) -> None:
    record = clip(0, dtype=torch.bfloat16)
    write_clips(tmp_path, [record])
    (row,) = pq.read_table(tmp_path / "data-00000.parquet").to_pylist()
    assert row["vae_latent_dtype"] == "bfloat16"
    assert row["vae_latent_bytes"] == record.latent_CTHW.view(torch.int16).numpy().tobytes()
