"""distill_core.data.reading.dataset: rows as they were written, and every fault named with its file and row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from changed_files import flip_a_bit, same_date, write_changed
from data_sets import caption, clip, write_captions, write_clips
from hypothesis import given
from hypothesis import strategies as st

from distill_core.data.reading import files
from distill_core.data.reading import rows as single_rows
from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.columns import T2V_SCHEMA
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.mixture import Mixture, Part
from distill_core.data.reading.tensors import DTYPES, is_finite
from distill_core.errors import DataError


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_comes_back_bitwise(tmp_path: Path, dtype: torch.dtype) -> None:
    records = [clip(number, dtype=dtype) for number in range(3)]
    dataset = open_dataset(write_clips(tmp_path, records), latents=True)
    for row, record in zip((dataset[0], dataset[1], dataset[2]), records, strict=True):
        assert (row.id, row.caption) == (record.id, record.caption)
        assert row.latent_CTHW is not None
        for read, written in ((row.latent_CTHW, record.latent_CTHW), (row.text_LD, record.text_LD)):
            assert read.dtype == dtype
            assert torch.equal(read, written)


@pytest.mark.parametrize("name", ["torch.float32", "float32"])
def test_a_dtype_may_go_by_its_torch_or_its_numpy_name(tmp_path: Path, name: str) -> None:
    file = write_changed(tmp_path / "a.parquet", vae_latent_dtype=name)
    latent = open_dataset(file, latents=True)[1].latent_CTHW
    assert latent is not None
    assert torch.equal(latent, clip(1).latent_CTHW)


def test_a_data_set_written_with_plain_pyarrow_is_read_unchanged(tmp_path: Path) -> None:
    """As another trainer writes it: another layout, text padded to its full length, float32 throughout."""
    latents = np.random.default_rng(0).standard_normal((4, 16, 2, 4, 4), dtype=np.float32)
    texts = np.zeros((4, 512, 8), dtype=np.float32)
    texts[:, :10] = 1
    rows = [
        {
            "id": f"{number}",
            "vae_latent_bytes": latent.tobytes(),
            "vae_latent_shape": list(latent.shape),
            "vae_latent_dtype": str(latent.dtype),
            "text_embedding_bytes": text.tobytes(),
            "text_embedding_shape": list(text.shape),
            "text_embedding_dtype": str(text.dtype),
            "file_name": f"{number}.mp4",
            "caption": "a red ball",
            "media_type": "video",
            "width": 32,
            "height": 32,
            "num_frames": 5,
            "duration_sec": 0.3,
            "fps": 16.0,
        }
        for number, (latent, text) in enumerate(zip(latents, texts, strict=True))
    ]
    (tmp_path / "worker_0").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "worker_0" / "data_chunk_0.parquet", compression="zstd")
    dataset = open_dataset(tmp_path, latents=True)
    assert len(dataset) == 4
    for index in (3, 0, 2):
        row = dataset[index]
        assert row.latent_CTHW is not None
        assert np.array_equal(row.latent_CTHW.numpy(), latents[index])
        assert np.array_equal(row.text_LD.numpy(), texts[index])
    assert dataset.summary().latent_shapes == {(16, 2, 4, 4): 4}


def test_a_tensor_is_the_readers_own(tmp_path: Path) -> None:
    dataset = open_dataset(write_clips(tmp_path, [clip(0)]), latents=True)
    dataset[0].text_LD.zero_()
    assert torch.equal(dataset[0].text_LD, clip(0).text_LD)


def test_rows_follow_file_names_and_folders_below_are_read(tmp_path: Path) -> None:
    write_clips(tmp_path / "b", map(clip, range(3, 6)), rows_per_file=2)
    write_clips(tmp_path / "a" / "deep", map(clip, range(3)))
    dataset = open_dataset(tmp_path, latents=True)
    assert [dataset[index].id for index in range(len(dataset))] == [f"clip-{number}" for number in range(6)]


def test_one_file_is_a_data_set(tmp_path: Path) -> None:
    write_clips(tmp_path, map(clip, range(4)), rows_per_file=2)
    assert open_dataset(tmp_path / "data-00001.parquet", latents=True)[0].id == "clip-2"


def test_a_row_outside_is_an_index_error(tmp_path: Path) -> None:
    dataset = open_dataset(write_clips(tmp_path, [clip(0)]), latents=True)
    for index in (1, -1):
        with pytest.raises(IndexError):
            dataset[index]


def test_latents_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    write_changed(tmp_path / "a.parquet", vae_latent_bytes=b"damaged")
    row = open_dataset(tmp_path, latents=False)[1]
    assert row.latent_CTHW is None
    assert torch.equal(row.text_LD, clip(1).text_LD)


def test_captions_alone_are_read_without_latents(tmp_path: Path) -> None:
    dataset = open_dataset(write_captions(tmp_path, map(caption, range(2))), latents=False)
    assert (dataset[1].caption, dataset[1].latent_CTHW) == ("caption 1", None)
    summary = dataset.summary()
    assert (summary.rows, summary.has_latents, summary.latent_shapes) == (2, False, {})


def test_a_summary_counts_shapes_and_reads_no_payload(tmp_path: Path) -> None:
    write_clips(tmp_path / "a", [clip(0), clip(1, shape=(3, 4, 4, 4)), clip(2, tokens=9)])
    write_changed(tmp_path / "b" / "b.parquet", vae_latent_bytes=b"damaged")
    summary = open_dataset(tmp_path, latents=True).summary()
    assert summary.latent_shapes == {(3, 2, 4, 4): 5, (3, 4, 4, 4): 1}
    assert (summary.rows, summary.text_widths, summary.max_text_length) == (6, (5,), 9)


def test_captions_are_the_first_different_ones(tmp_path: Path) -> None:
    write_clips(tmp_path, map(clip, (0, 0, 1, 2)), rows_per_file=1)
    dataset = open_dataset(tmp_path, latents=False)
    assert dataset.captions(2) == ("caption 0", "caption 1")
    assert dataset.captions(9) == ("caption 0", "caption 1", "caption 2")


def test_a_caption_is_found_in_the_first_row_that_has_it(tmp_path: Path) -> None:
    write_clips(tmp_path, map(clip, (0, 0, 1, 2, 1)), rows_per_file=2)
    dataset = open_dataset(tmp_path, latents=False)
    files = sorted(tmp_path.glob("*.parquet"))
    found = [Mixture([Part(dataset)]).source_of(f"caption {number}") for number in range(4)]
    assert found == [f"{files[0]}:0", f"{files[1]}:0", f"{files[1]}:1", None]


def test_a_fingerprint_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    for folder, rows in (("a", 3), ("b", 3), ("c", 2)):
        write_clips(tmp_path / folder, map(clip, range(rows)))
    a, b, c = (open_dataset(tmp_path / folder, latents=True).fingerprint() for folder in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize("options", [{}, {"compression": "none", "use_dictionary": False, "write_statistics": False}])
def test_other_rows_of_equal_sizes_have_another_fingerprint(tmp_path: Path, options: Any) -> None:
    layouts, prints = set(), set()
    for name, latent in (("a", clip(0).latent_CTHW), ("b", -clip(0).latent_CTHW), ("c", clip(0).latent_CTHW)):
        (tmp_path / name).mkdir()
        rows = [replace(clip(0), latent_CTHW=latent).columns()]
        pq.write_table(pa.Table.from_pylist(rows, schema=T2V_SCHEMA), tmp_path / name / "a.parquet", **options)
        dataset = open_dataset(tmp_path / name, latents=True)
        layouts.add(dataset.layout())
        prints.add(dataset.fingerprint())
    assert len(layouts) == 1
    assert len(prints) == 2


def test_a_row_is_verified_when_it_is_first_read_and_not_again(tmp_path: Path) -> None:
    file = write_clips(tmp_path, [clip(0, shape=(3, 2, 256, 256))]) / "data-00000.parquet"
    dataset = open_dataset(tmp_path, latents=True)
    assert dataset[0].id == "clip-0"
    latent = dataset[0].latent_CTHW
    assert latent is not None
    with same_date(file):  # as a disk does it
        flip_a_bit(file, 0, (3, 2, 256, 256))
    changed = dataset[0].latent_CTHW
    assert changed is not None
    assert not torch.equal(changed, latent)
    with pytest.raises(DataError, match=r"data-00000\.parquet:0: its row group is damaged: .*CRC"):
        open_dataset(tmp_path, latents=True)[0]


def test_a_row_that_was_not_read_yet_is_verified_though_its_row_group_is_at_hand(tmp_path: Path) -> None:
    for number in (0, 3):
        table = pa.Table.from_pylist([clip(number + n).columns() for n in range(3)], schema=T2V_SCHEMA)
        options = {"compression": "snappy", "use_dictionary": False, "write_page_checksum": True}
        pq.write_table(table, tmp_path / f"data-0000{number}.parquet", **options)
    dataset = open_dataset(tmp_path, latents=True)
    for index in (0, 3, 0):  # the row group of rows 0 to 2 is now one that was not verified
        assert dataset[index].id == f"clip-{index}"
    assert dataset[3].id == "clip-3"
    with same_date(tmp_path / "data-00000.parquet"):
        flip_a_bit(tmp_path / "data-00000.parquet", 1)
    assert dataset[0].latent_CTHW is not None
    with pytest.raises(BadRowError, match=r"data-00000\.parquet:1: its row group is damaged"):
        dataset[1]


def test_a_row_that_fills_its_row_group_beside_empty_ones_is_a_copy(tmp_path: Path) -> None:
    empty = {"vae_latent_bytes": b"", "text_embedding_bytes": b""}
    dataset = open_dataset(write_changed(tmp_path / "a.parquet", rows=2, at=1, **empty), latents=True)
    for row in (dataset[0], dataset[0]):
        assert torch.equal(row.text_LD, clip(0).text_LD)
        row.text_LD.zero_()


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary_view()])
def test_bytes_of_another_arrow_type_are_read_too(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.Table.from_pylist([clip(n).columns() for n in range(3)], schema=T2V_SCHEMA)
    for name in ("vae_latent_bytes", "text_embedding_bytes"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table.column(name).cast(kind))
    pq.write_table(table, tmp_path / "a.parquet")
    latent = open_dataset(tmp_path, latents=True)[1].latent_CTHW
    assert latent is not None
    assert torch.equal(latent, clip(1).latent_CTHW)


def test_a_row_of_a_file_in_several_chunks_is_found(tmp_path: Path) -> None:
    table = pa.table({"id": pa.chunked_array([[b"a"], [b"b", None], [b"c"]], pa.binary())})
    assert [single_rows._value(table.column("id"), place) for place in (0, 1, 2, 3)] == [b"a", b"b", None, b"c"]


@given(
    dtype=st.sampled_from(list(DTYPES.values())),
    value=st.sampled_from([math.nan, -math.nan, math.inf, -math.inf, 0.0, -0.0, 65504.0, -65504.0, 1e-8]),
    place=st.integers(0, 6),
)
def test_a_value_that_is_not_finite_is_found_wherever_it_is(dtype: torch.dtype, value: float, place: int) -> None:
    tensor = torch.linspace(-3, 3, 7).to(dtype)
    tensor[place] = value
    assert is_finite(tensor) == bool(tensor.isfinite().all())


def test_a_row_group_of_one_row_is_given_away_and_one_of_several_is_copied_from(tmp_path: Path) -> None:
    write_clips(tmp_path / "large", [clip(0, shape=(3, 2, 256, 256))])
    write_clips(tmp_path / "small", map(clip, range(3)))
    for folder in ("large", "small"):
        dataset = open_dataset(tmp_path / folder, latents=True)
        for row in (dataset[0], dataset[0]):
            assert torch.equal(row.text_LD, clip(0).text_LD)
            row.text_LD.zero_()


def test_threads_read_one_data_set_at_once(tmp_path: Path) -> None:
    dataset = open_dataset(write_clips(tmp_path, map(clip, range(40)), rows_per_file=7), latents=True)
    with ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(dataset.__getitem__, [*range(40)] * 3))
    for number, row in enumerate(rows):
        assert torch.equal(row.text_LD, clip(number % 40).text_LD)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened, as they are."""
    names: list[str] = []

    def open_and_note(path: Path, **how: Any) -> pq.ParquetFile:
        names.append(path.name)
        return open_file(path, **how)

    open_file = files.open_parquet
    monkeypatch.setattr(single_rows, "open_parquet", open_and_note)
    return names


def test_no_more_files_stay_open_than_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str]) -> None:
    monkeypatch.setattr(single_rows, "MAX_OPEN_FILES", 2)
    write_clips(tmp_path, map(clip, range(5)), rows_per_file=1)
    reader = single_rows.RowReader(["id"])
    facts = [files.read_facts(file, tmp_path) for file in files.find_parquet(tmp_path)]
    opened.clear()
    for number in (0, 3, 0, 4, 0, 3):
        assert reader.read_row(facts[number], 0).values["id"] == f"clip-{number}"
    assert [name[-9] for name in opened] == list("0343")  # 0 is used again and again, 3 and 4 take turns


def test_nothing_is_written_beside_data_that_are_read(tmp_path: Path) -> None:
    dataset = open_dataset(write_clips(tmp_path, map(clip, range(3))), latents=True)
    assert dataset.summary().rows == 3
    assert dataset[0].id == "clip-0"
    assert [path.name for path in tmp_path.rglob("*")] == ["data-00000.parquet"]


@pytest.fixture
def pool() -> Iterator[pa.MemoryPool]:
    """What Arrow takes its memory from, counted from here on."""
    before = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(before)
    pa.set_memory_pool(counted)
    yield counted
    pa.set_memory_pool(before)


def test_a_long_text_that_many_rows_share_is_in_memory_once(tmp_path: Path, pool: pa.MemoryPool) -> None:
    text, rows = "x" * (1 << 20), 100
    table = pa.Table.from_pylist([clip(0).columns()] * rows, schema=T2V_SCHEMA)
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
    table = table.set_column(table.schema.get_field_index("caption"), "caption", shared)
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", store_schema=False)
    dataset = open_dataset(tmp_path, latents=True)
    assert dataset[rows - 1].caption == text
    assert dataset.captions(3) == (text,)
    assert not dataset.kinds.faults
    assert pool.max_memory() < 30 << 20


def test_texts_are_read_as_dictionaries_only_where_rows_share_a_group(tmp_path: Path) -> None:
    for size, due in ((1, ()), (3, ("id", "caption"))):
        table = pa.Table.from_pylist([clip(n).columns() for n in range(3)], schema=T2V_SCHEMA)
        pq.write_table(table, tmp_path / "a.parquet", row_group_size=size)
        assert files.read_facts(tmp_path / "a.parquet", tmp_path).repeated == due
