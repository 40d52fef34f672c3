"""Parquet files as a data set sees them: which there are, what their footers say, and rows read out of them.

Knows the shape of a file, not the meaning of its columns. Every fault is a DataError that names the file.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from distill_core.errors import DataError

ResultT = TypeVar("ResultT")
MAX_OPEN_FILES = 64


@dataclass(frozen=True)
class ParquetFacts:
    """What the footer of one file says.

    Attributes:
        path: the file.
        name: its path inside the data set, with forward slashes.
        bytes: its size.
        columns: the names of its columns.
        group_ends: for each row group, the row of the file that it ends before.
    """

    path: Path
    name: str
    bytes: int
    columns: tuple[str, ...]
    group_ends: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return self.group_ends[-1] if self.group_ends else 0

    def locate(self, row: int) -> tuple[int, int]:
        """The row group that ``row`` lies in, and its place there."""
        group = bisect_right(self.group_ends, row)
        return group, row - (self.group_ends[group - 1] if group else 0)


def find_parquet(path: Path) -> list[ParquetFacts]:
    """The footers of one file, or of every ``*.parquet`` in a folder and the folders below, ordered by name."""
    if not path.exists():
        raise DataError(
            f"{path} does not exist; set data.path to a folder of parquet files, as `distill data encode` makes one"
        )
    if path.is_file():
        return [_read_facts(path, path.name)]
    found = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*.parquet") if file.is_file())
    if not found:
        raise DataError(f"{path} holds no parquet file; `distill data encode` makes them from videos or captions")
    return [_read_facts(file, name) for name, file in found]


def _read_facts(path: Path, name: str) -> ParquetFacts:
    """The footer of one file."""
    with _open(path) as file:
        footer = file.metadata
        sizes = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        return ParquetFacts(path, name, path.stat().st_size, tuple(file.schema_arrow.names), tuple(accumulate(sizes)))


def _open(path: Path) -> pq.ParquetFile:
    """Open a file. Its footer is read and its pages, where they carry checksums, are verified as they are read."""
    return _guarded(path, lambda: pq.ParquetFile(path, memory_map=True, page_checksum_verification=True))


def _guarded(path: Path, work: Callable[[], ResultT]) -> ResultT:
    """``work()``, with what Arrow and the operating system raise turned into a DataError."""
    try:
        return work()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is no parquet file or is damaged: {error}; remove it or write it again") from error


def read_columns(facts: ParquetFacts, columns: Sequence[str]) -> pa.Table:
    """Whole columns. Raises DataError, with the row, where one is null."""
    with _open(facts.path) as file:
        table = _guarded(facts.path, lambda: file.read(list(columns), use_threads=False))
    for name, values in zip(table.column_names, table.columns, strict=True):
        if values.null_count:
            raise DataError(f"{facts.path}, row {values.is_null().index(True).as_py()}: {name} is null")
    return table


class OpenFiles:
    """Reads single rows. Keeps files open, and the last row group decoded; a pickle or a fork carries none of it on."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._files: OrderedDict[Path, pq.ParquetFile] = OrderedDict()
        self._last: tuple[Path, int, pa.Table] | None = None

    def __getstate__(self) -> list[str]:
        """The columns, which are all that another process needs."""
        return self._columns

    def __setstate__(self, columns: list[str]) -> None:
        self._columns = columns
        self._forget()

    def read_row(self, facts: ParquetFacts, row: int) -> dict[str, pa.Scalar]:
        """The columns of one row as Arrow scalars, which share Arrow's memory. Raises DataError where one is null."""
        if self._process != os.getpid():
            self._forget()  # forked: the handles are the parent's
        group, place = facts.locate(row)
        table = self._group(facts.path, group)
        values = {name: table.column(name)[place] for name in self._columns}
        for name, value in values.items():
            if not value.is_valid:
                raise DataError(f"{facts.path}, row {row}: {name} is null")
        return values

    def _group(self, path: Path, group: int) -> pa.Table:
        """One decoded row group. One thread: Arrow's thread pool does not survive a fork."""
        if self._last is None or self._last[:2] != (path, group):
            file = self._file(path)
            self._last = None  # let the old group go before the new one takes memory
            table = _guarded(path, lambda: file.read_row_group(group, self._columns, use_threads=False))
            self._last = (path, group, table)
        return self._last[2]

    def _file(self, path: Path) -> pq.ParquetFile:
        """The open file, the least recently used ones being closed."""
        if path not in self._files:
            if len(self._files) >= MAX_OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            self._files[path] = _open(path)
        self._files.move_to_end(path)
        return self._files[path]
