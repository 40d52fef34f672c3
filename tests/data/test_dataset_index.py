"""distill_core.data.reading.index: what was found of a large data set is kept, and taken only while its files are what they were."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from data_sets import clip, write_clips

from distill_core.data.reading import dataset as datasets
from distill_core.data.reading import index as indices
from distill_core.data.reading.dataset import ParquetDataset, open_dataset
from distill_core.data.reading.index import NAME
from distill_core.data.reading.kinds import RowKinds


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every data set is worth an index, and the user's cache is this test's own."""
    monkeypatch.setattr(indices, "WORTH_ROWS", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two files, of two shapes, one row of which has no caption."""
    bad = clip(3).columns() | {"caption": None}
    write_clips(tmp_path / "data", [clip(0), clip(1, shape=(3, 4, 4, 4)), clip(2), clip(4)], rows_per_file=2)
    table = pq.read_table(tmp_path / "data" / "data-00001.parquet")
    rows = [*table.to_pylist(), bad]
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), tmp_path / "data" / "data-00001.parquet")
    return tmp_path / "data"


def found(dataset: ParquetDataset) -> tuple[object, ...]:
    """All that is known of a data set without its tensors."""
    kinds: RowKinds = dataset.kinds
    faults = {row: (fault.path, fault.row, fault.reason) for row, fault in kinds.faults.items()}
    files = [(f.path, f.name, f.size, f.schema, f.group_ends, f.modified_ns, dict(f.metadata)) for f in dataset.files]
    return kinds.kinds, kinds.of_row.tolist(), faults, files, dataset.layout(), dataset.fingerprint()


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose rows are looked at, as they are."""
    names: list[str] = []
    look = datasets.look_at

    def note(files: list[datasets.ParquetFacts]) -> object:
        names.extend(file.name for file in files)
        return look(files)

    monkeypatch.setattr(datasets, "look_at", note)
    return names


def test_a_data_set_is_the_same_with_its_index_and_nothing_is_looked_at_again(data: Path, looked_at: list[str]) -> None:
    plain = found(open_dataset(data, latents=True))
    first = found(open_dataset(data, latents=True, indexed=True))
    assert (data / NAME).exists()
    looked_at.clear()
    second = open_dataset(data, latents=True, indexed=True)
    assert found(second) == first == plain
    assert looked_at == []
    assert second[0].id == "clip-0"
    assert second.remarks == ()


def test_footers_of_known_files_are_not_parsed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_dataset(data, latents=True, indexed=True).kinds.kinds
    monkeypatch.setattr(datasets, "open_parquet", lambda path: pytest.fail(f"{path} is opened"))
    assert len(open_dataset(data, latents=True, indexed=True)) == 5


def test_a_file_that_was_written_to_is_looked_at_again_and_no_other(data: Path, looked_at: list[str]) -> None:
    assert open_dataset(data, latents=True, indexed=True).kinds.kinds
    write_clips(data, [clip(7)])
    before = (data / "data-00000.parquet").stat()
    (data / "data-00002.parquet").replace(data / "data-00000.parquet")
    os.utime(data / "data-00000.parquet", ns=(before.st_atime_ns, before.st_mtime_ns))
    looked_at.clear()
    changed = open_dataset(data, latents=True, indexed=True)
    assert found(changed) == found(open_dataset(data, latents=True))
    assert looked_at == ["data-00000.parquet", "data-00000.parquet", "data-00001.parquet"]
    looked_at.clear()
    assert found(open_dataset(data, latents=True, indexed=True)) == found(changed)
    assert looked_at == []


def test_a_file_of_the_same_size_and_date_is_told_by_its_pages(data: Path) -> None:
    file = data / "data-00000.parquet"
    assert open_dataset(data, latents=True, indexed=True).kinds.kinds
    before = file.stat()
    shape = np.array([3, 2, 4, 4], np.int64).tobytes()
    content = file.read_bytes()
    assert content.count(shape) == 1
    file.write_bytes(content.replace(shape, np.array([3, 4, 4, 2], np.int64).tobytes()))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert found(open_dataset(data, latents=True, indexed=True)) == found(open_dataset(data, latents=True))


@pytest.mark.parametrize("place", [40, -3])
def test_a_damaged_index_is_moved_aside_said_and_made_anew(data: Path, place: int, looked_at: list[str]) -> None:
    whole = found(open_dataset(data, latents=True, indexed=True))
    content = bytearray((data / NAME).read_bytes())
    content[place] ^= 1
    (data / NAME).write_bytes(content)
    looked_at.clear()
    opened = open_dataset(data, latents=True, indexed=True)
    assert found(opened) == whole
    assert len(looked_at) == 2
    (remark,) = opened.remarks
    (aside,) = data.glob(f"{NAME}.damaged-*")
    assert remark == (
        f"{data / NAME}, the index of the data set, is damaged; it is now {aside}, and all rows were looked at anew"
    )
    assert open_dataset(data, latents=True, indexed=True).remarks == ()


def test_where_a_folder_may_not_be_written_to_the_users_cache_has_the_index(
    data: Path, tmp_path: Path, looked_at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = indices.write_bytes

    def refuse_the_folder(path: Path, content: bytes) -> None:
        if path.parent == data:
            raise PermissionError(13, "Permission denied", str(path))
        write(path, content)

    monkeypatch.setattr(indices, "write_bytes", refuse_the_folder)
    whole = found(open_dataset(data, latents=True, indexed=True))
    assert not (data / NAME).exists()
    assert len(list((tmp_path / "cache" / "distill" / "data").iterdir())) == 1
    looked_at.clear()
    assert found(open_dataset(data, latents=True, indexed=True)) == whole
    assert looked_at == []


def test_a_small_data_set_and_one_that_is_not_to_be_indexed_leave_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_dataset(data, latents=True).kinds.kinds
    monkeypatch.setattr(indices, "WORTH_ROWS", 6)
    assert open_dataset(data, latents=True, indexed=True).kinds.kinds
    assert [path.name for path in sorted(data.iterdir())] == ["data-00000.parquet", "data-00001.parquet"]
