"""distill_core.data.reading.pages: values straight out of a file are those that Arrow reads, and whatever is strange is left to Arrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_sets import clip, write_clips
from hypothesis import given
from hypothesis import strategies as st

from distill_core.data.reading import rows
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.files import read_facts
from distill_core.data.reading.footers import Footers
from distill_core.data.reading.rows import RowReader

PLAIN = {"compression": "none", "use_dictionary": False, "write_statistics": False, "write_page_checksum": True}


def write(path: Path, values: list[bytes | None], required: bool = False, **options: Any) -> None:
    """One column of bytes, under the name ``data``."""
    field = pa.field("data", pa.binary(), nullable=not required)
    pq.write_table(pa.table({"data": pa.array(values, pa.binary())}, schema=pa.schema([field])), path, **options)


@pytest.fixture
def from_pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the values that are read without Arrow, as they are."""
    sizes: list[int] = []

    def noting(read: Callable[..., pa.Buffer | None]) -> Callable[..., pa.Buffer | None]:
        def read_and_note(*given: Any) -> pa.Buffer | None:
            value = read(*given)
            sizes.extend([] if value is None else [value.size])
            return value

        return read_and_note

    for name in ("read_value", "read_only_value"):
        monkeypatch.setattr(rows, name, noting(getattr(rows, name)))
    return sizes


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("group", [1, 3, 7, 8, 9, 40])
def test_every_value_is_the_one_that_was_written(
    tmp_path: Path, group: int, required: bool, from_pages: list[int]
) -> None:
    values = [bytes([number]) * (number * 37 % 600) for number in range(40)]
    write(tmp_path / "a.parquet", [*values], required, row_group_size=group, **PLAIN)
    facts, reader = read_facts(tmp_path / "a.parquet", tmp_path), RowReader(["data"])
    for verify in (True, False):
        for number in (*range(39, -1, -3), *range(40)):
            stored = reader.read_row(facts, number, verify=verify)
            assert stored.values["data"].to_pybytes() == values[number]
            assert "data" in stored.owned
    assert len(from_pages) == 2 * (14 + 40)


def test_a_page_may_have_statistics_and_no_checksum(tmp_path: Path, from_pages: list[int]) -> None:
    values = [b"b", b"aaa", b""]
    write(tmp_path / "a.parquet", [*values], compression="none", use_dictionary=False)
    facts, reader = read_facts(tmp_path / "a.parquet", tmp_path), RowReader(["data"])
    assert [reader.read_row(facts, number).values["data"].to_pybytes() for number in range(3)] == values
    assert from_pages == [1, 3, 0]


@given(values=st.lists(st.binary(max_size=300), min_size=1, max_size=20), group=st.integers(1, 20), data=st.data())
def test_whatever_is_flipped_arrow_would_have_read_the_same_or_refused_it(
    tmp_path_factory: pytest.TempPathFactory, values: list[bytes | None], group: int, data: st.DataObject
) -> None:
    file = tmp_path_factory.mktemp("flipped") / "a.parquet"
    write(file, values, row_group_size=group, **PLAIN)
    content = bytearray(file.read_bytes())
    pages = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[data.draw(st.integers(4, pages - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    facts, reader = read_facts(file, file.parent), RowReader(["data"])
    for number, value in enumerate(values):
        try:
            found = reader.read_row(facts, number).values["data"].to_pybytes()
        except rows.BadRowError:
            continue
        assert found == value


@pytest.mark.parametrize(
    "options",
    [
        {**PLAIN, "compression": "zstd"},
        {**PLAIN, "use_dictionary": True},
        {**PLAIN, "data_page_version": "2.0"},
        {**PLAIN, "data_page_size": 64, "write_batch_size": 2},
        {**PLAIN, "use_dictionary": False, "column_encoding": {"data": "DELTA_LENGTH_BYTE_ARRAY"}},
    ],
)
def test_what_does_not_lie_there_as_it_is_is_left_to_arrow(
    tmp_path: Path, options: dict[str, Any], from_pages: list[int]
) -> None:
    values = [bytes([number]) * 50 for number in range(9)]
    write(tmp_path / "a.parquet", [*values], **options)
    facts, reader = read_facts(tmp_path / "a.parquet", tmp_path), RowReader(["data"])
    assert [reader.read_row(facts, number).values["data"].to_pybytes() for number in range(9)] == values
    assert from_pages == []


def test_a_null_beside_values_is_the_fault_of_its_row(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [b"a", None, b"c"], **PLAIN)
    facts, reader = read_facts(tmp_path / "a.parquet", tmp_path), RowReader(["data"])
    assert reader.read_row(facts, 2).values["data"].to_pybytes() == b"c"
    with pytest.raises(rows.BadRowError, match=r"a\.parquet:1: data is null"):
        reader.read_row(facts, 1)


def test_a_footer_is_parsed_once_however_many_files_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clips(tmp_path, map(clip, range(6)), rows_per_file=1)
    dataset = open_dataset(tmp_path, latents=True)
    assert not dataset.kinds.faults
    parsed: list[Path] = []
    read = pq.read_metadata
    monkeypatch.setattr(rows, "MAX_OPEN_FILES", 1)
    monkeypatch.setattr(rows.pq, "read_metadata", lambda path: parsed.append(path) or read(path))
    for number in (0, 1, 0, 5, 1, 0, 3, 2, 4, *range(6)):
        assert dataset[number].id == f"clip-{number}"
    assert len(parsed) == 6


def test_no_more_footers_are_kept_than_memory_should_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_core.data.reading.footers.MOST_CHUNKS", 2)
    paths = [tmp_path / f"{number}.parquet" for number in range(3)]
    for path in paths:
        write(path, [b"a"])
    kept, parsed = Footers(), []

    def ask(path: Path) -> None:
        kept.of(path, lambda: parsed.append(path) or pq.read_metadata(path))

    for number in (0, 1, 0, 1, 2, 1, 0):
        ask(paths[number])
    assert parsed == [paths[number] for number in (0, 1, 2, 0)]
