"""A data set that cannot be read is refused: by its file, and, where it is one, by its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from changed_files import flip_a_bit, write_changed
from data_sets import caption, clip, write_captions, write_clips

from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.columns import T2V_SCHEMA
from distill_core.data.reading.dataset import open_dataset
from distill_core.errors import DataError


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone does not exist; set data\.path"):
        open_dataset(tmp_path / "gone", latents=True)


def test_a_folder_without_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(DataError, match=r"holds no parquet file \(there are: clip\.mp4\); `distill data encode`"):
        open_dataset(tmp_path, latents=True)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"this is text, and long enough to hold a footer"])
def test_a_file_that_is_no_parquet_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    write_clips(tmp_path, [clip(0)])
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet is no parquet file or is damaged"):
        open_dataset(tmp_path, latents=True)


def test_another_kind_of_file_is_not_told_to_be_removed(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(DataError, match=r"notes\.md is no parquet file; name one, or a folder of them") as refusal:
        open_dataset(tmp_path / "notes.md", latents=True)
    assert "remove" not in str(refusal.value)
    file = write_clips(tmp_path / "clips", [clip(0)]) / "data-00000.parquet"
    assert len(open_dataset(file.rename(tmp_path / "data.bin"), latents=True)) == 1


def test_a_file_whose_end_is_cut_off_is_refused_by_name(tmp_path: Path) -> None:
    file = write_clips(tmp_path, [clip(0)]) / "data-00000.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"data-00000\.parquet is no parquet file or is damaged"):
        open_dataset(tmp_path, latents=True)


def test_a_flipped_bit_is_found_when_the_row_is_read(tmp_path: Path) -> None:
    flip_a_bit(write_clips(tmp_path, map(clip, range(2))) / "data-00000.parquet", 1)
    with pytest.raises(BadRowError, match=r"data-00000\.parquet:0: its row group is damaged"):
        open_dataset(tmp_path, latents=True)[0]


def test_hidden_files_and_folders_are_no_data(tmp_path: Path) -> None:
    write_clips(tmp_path / "a", [clip(0)])
    for hidden in (".a.encoding", "_old"):
        write_clips(tmp_path / hidden, [clip(1)])
    (tmp_path / "_x.parquet").write_bytes(b"not parquet")
    assert len(open_dataset(tmp_path, latents=True)) == 1


def test_a_file_that_vanishes_is_refused_by_name(tmp_path: Path) -> None:
    dataset = open_dataset(write_clips(tmp_path, [clip(0)]), latents=True)
    (tmp_path / "data-00000.parquet").unlink()
    with pytest.raises(DataError, match=r"data-00000\.parquet"):
        dataset[0]


def test_missing_columns_are_named_with_their_schema(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([clip(0).columns()], schema=T2V_SCHEMA)
    pq.write_table(table.drop_columns(["vae_latent_dtype"]), tmp_path / "a.parquet")
    with pytest.raises(
        DataError,
        match=r"a\.parquet lacks vae_latent_dtype of the T2V schema \(there are: id, .*; `distill data encode`",
    ):
        open_dataset(tmp_path, latents=True)
    pq.write_table(table.drop_columns(["caption", "text_embedding_shape"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="lacks text_embedding_shape, caption, which both"):
        open_dataset(tmp_path, latents=False)


def test_captions_alone_are_refused_where_latents_are_needed(tmp_path: Path) -> None:
    write_captions(tmp_path, [caption(0)])
    with pytest.raises(DataError, match=r"data-00000\.parquet holds captions only"):
        open_dataset(tmp_path, latents=True)


def test_a_null_that_the_footer_counts_is_found_before_training(tmp_path: Path) -> None:
    write_changed(tmp_path / "a.parquet", caption=None)
    with pytest.raises(BadRowError, match=r"a\.parquet:1: caption is null"):
        open_dataset(tmp_path, latents=True).summary()


def test_a_damaged_page_of_shapes_is_a_fault_of_its_row_group_and_no_other(tmp_path: Path) -> None:
    file = write_clips(tmp_path, [clip(n, shape=(3, 2, 256, 256)) for n in range(3)]) / "data-00000.parquet"
    footer = pq.read_metadata(file)
    (shape,) = (n for n in range(footer.num_columns) if footer.schema.column(n).path.startswith("vae_latent_shape"))
    page = footer.row_group(1).column(shape)
    content = bytearray(file.read_bytes())
    content[page.data_page_offset + page.total_compressed_size - 1] ^= 1
    file.write_bytes(content)
    dataset = open_dataset(tmp_path, latents=True)
    assert [dataset[0].id, dataset[2].id] == ["clip-0", "clip-2"]
    with pytest.raises(BadRowError, match=r"data-00000\.parquet:1: its row group is damaged"):
        dataset[1]


def test_no_rows_are_refused(tmp_path: Path) -> None:
    pq.write_table(T2V_SCHEMA.empty_table(), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="holds 0 rows"):
        open_dataset(tmp_path, latents=True)


MALFORMED_ROWS = {
    "an unknown dtype": ({"vae_latent_dtype": "int8"}, "vae_latent has the dtype 'int8'; known are float16"),
    "too few bytes": (
        {"text_embedding_bytes": b"1234"},
        r"text_embedding has 4 bytes; its shape \[7, 5\] .* makes 140",
    ),
    "a dtype of another size": ({"vae_latent_dtype": "float16"}, "vae_latent has 384 bytes; .* in float16 makes 192"),
    "a huge shape": ({"vae_latent_shape": [1 << 40, 1 << 40, 4, 4]}, "vae_latent has 384 bytes"),
    "a shape of three": ({"vae_latent_shape": [6, 4, 4]}, r"vae_latent has the shape \[6, 4, 4\]; 4 positive sizes"),
    "no shape": ({"vae_latent_shape": []}, r"vae_latent has the shape \[\]"),
    "an empty tensor": (
        {"vae_latent_shape": [3, 0, 4, 4], "vae_latent_bytes": b""},
        "vae_latent has the shape .*4 positive sizes",
    ),
    "a shape with a hole": ({"vae_latent_shape": [3, None, 4, 4]}, r"vae_latent has the shape \[3, None, 4, 4\]"),
    "a value that no latent has": (
        {"vae_latent_bytes": np.full(96, 1e8, np.float32).tobytes()},
        r"vae_latent holds values beyond 2\^24; are its bytes float32, and little-endian\?",
    ),
    "a NaN": ({"vae_latent_bytes": np.full(96, np.nan, np.float32).tobytes()}, "vae_latent holds NaN or infinity"),
    "an infinity": ({"text_embedding_bytes": np.full(35, np.inf, np.float32).tobytes()}, "text_embedding holds NaN"),
    "a null latent": ({"vae_latent_bytes": None}, "vae_latent_bytes is null"),
    "a null shape": ({"vae_latent_shape": None}, "vae_latent_shape is null"),
    "a null caption": ({"caption": None}, "caption is null"),
}


@pytest.mark.parametrize(("changes", "message"), MALFORMED_ROWS.values(), ids=MALFORMED_ROWS)
def test_a_malformed_row_is_refused_with_its_file_and_number(tmp_path: Path, changes: Any, message: str) -> None:
    dataset = open_dataset(write_changed(tmp_path / "a.parquet", **changes), latents=True)
    assert dataset[0].id == "clip-0"
    with pytest.raises(DataError, match=rf"a\.parquet:1: {message}"):
        dataset[1]


def test_a_summary_refuses_a_shape_that_is_null_or_has_other_dimensions(tmp_path: Path) -> None:
    write_changed(tmp_path / "a.parquet", vae_latent_shape=None)
    with pytest.raises(DataError, match=r"a\.parquet:1: vae_latent_shape is null"):
        open_dataset(tmp_path, latents=True).summary()
    write_changed(tmp_path / "a.parquet", text_embedding_shape=[35])
    with pytest.raises(DataError, match=r"a\.parquet:1: text_embedding has the shape \[35\]"):
        open_dataset(tmp_path, latents=True).summary()
