"""Single rows of parquet files, by the file and the number there. Knows no schema of training data.

Bytes that lie in a file as they are come from there (:mod:`distill_core.data.reading.pages`); all else with its row group, by Arrow.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.files import DAMAGE, ParquetFacts, check_rows, guarded, open_parquet
from distill_core.data.reading.footers import Footer, Footers
from distill_core.data.reading.pages import Page, chunk_of, find_page, read_only_value, read_value

MAX_OPEN_FILES = 64
"""Files that a thread holds open in each way that it reads them."""


@dataclass(frozen=True)
class StoredRow:
    """The columns of one row.

    Attributes:
        values: by column, none of them None; bytes as an Arrow buffer, in the memory that they were decoded to.
        owned: the columns of bytes whose memory holds this row alone and nobody keeps it: then it may be written to.
    """

    values: Mapping[str, Any]
    owned: frozenset[str]


@dataclass(frozen=True)
class _Group:
    """Decoded columns of a row group."""

    path: Path
    group: int
    verified: bool
    table: pa.Table

    def serves(self, path: Path, group: int, columns: Sequence[str], *, verify: bool) -> bool:
        """Whether these columns of a row group are among them."""
        here = (self.path, self.group) == (path, group) and (self.verified or not verify)
        return here and set(columns) <= set(self.table.column_names)


class _Handles(threading.local):
    """What one thread keeps: its open files, and the row group that it decoded last."""

    def __init__(self) -> None:
        self.files: OrderedDict[tuple[Path, bool], pq.ParquetFile] = OrderedDict()
        self.plain: OrderedDict[Path, pa.NativeFile] = OrderedDict()
        self.last: _Group | None = None


class RowReader:
    """Reads single rows. Several threads may use one reader; each opens files for itself.

    A page is verified when a row of it is first read, and its row group, where Arrow decodes it, with every row that is read verified.
    """

    def __init__(self, columns: Sequence[str], optional: Sequence[str] = ()) -> None:
        """``columns`` are in every file, each with a value; those of ``optional`` may be missing from a file, or null."""
        self._columns = list(columns)
        self._optional = list(optional)
        self._handles = _Handles()
        self._footers = Footers()
        self._pages: dict[tuple[Path, int, str], Page] = {}

    def read_row(self, facts: ParquetFacts, row: int, *, verify: bool = True) -> StoredRow:
        """One row; ``verify`` as for :func:`open_parquet`.

        Raises BadRowError where a column is null or the row group cannot be read, DataError where the file cannot be opened.
        """
        group = bisect_right(facts.group_ends, row)
        rows = facts.group_rows(group)
        place = row - rows.start
        plain = self._plain(facts, group, place, verify)
        there = [name for name in self._optional if name in facts.columns]
        try:
            table = self._group(facts, group, [name for name in (*self._columns, *there) if name not in plain], verify)
            check_rows(table, len(rows))
        except DAMAGE as error:
            raise BadRowError(facts.path, row, f"its row group is damaged: {error}") from error
        try:
            values = {n: plain[n] if n in plain else _value(table.column(n), place) for n in self._columns}
        except UnicodeDecodeError as error:
            raise BadRowError(facts.path, row, f"it holds a text that is not UTF-8: {error}") from error
        for name, value in values.items():
            if value is None:
                raise BadRowError(facts.path, row, f"{name} is null")
        values |= {name: _value(table.column(name), place) for name in there}
        return StoredRow(values, frozenset(values if len(rows) == 1 else plain))

    def _plain(self, facts: ParquetFacts, group: int, place: int, verify: bool) -> dict[str, pa.Buffer]:
        """The columns of bytes that lie in the file as they are, each with the value at a place of a row group."""
        found: dict[str, pa.Buffer] = {}
        for name in self._columns:
            if facts.is_binary(name):
                try:
                    value = self._plain_value(facts, group, place, name, verify)
                except OSError:
                    value = None  # Arrow says what is the matter
                if value is not None:
                    found[name] = value
        return found

    def _plain_value(self, facts: ParquetFacts, group: int, place: int, name: str, verify: bool) -> pa.Buffer | None:
        """The value at a place of a row group, or None if it does not lie there as it is."""
        path, key = facts.path, (facts.path, group, name)
        page = self._pages.get(key)
        if page is None:
            footer, rows = self._footer(facts), len(facts.group_rows(group))
            chunk = chunk_of(footer.content, group, footer.columns[name]) if name in footer.columns else None
            if chunk is None:
                return None
            if rows == 1 and verify:
                return read_only_value(self._open(path), chunk)
            page = find_page(self._open(path), chunk, rows, verify=rows > 1)
            if page is None:
                return None
            if rows > 1:  # those of one row may be millions, and are found at once
                self._pages[key] = page
        return read_value(self._open(path), page, place)

    def _group(self, facts: ParquetFacts, group: int, columns: Sequence[str], verify: bool) -> pa.Table:
        """Decoded columns of a row group. Those of several rows are kept, for the other rows; those of a single row are given away."""
        path, last = facts.path, self._handles.last
        if last is not None and last.serves(path, group, columns, verify=verify):
            return last.table
        file = self._file(facts, verify)
        self._handles.last = last = None  # let the old group go before the new one takes memory
        table = file.read_row_group(group, columns, use_threads=False)
        if len(facts.group_rows(group)) > 1:
            self._handles.last = _Group(path, group, verify, table)
        return table

    def _footer(self, facts: ParquetFacts) -> Footer:
        """The footer of a file."""
        return self._footers.of(facts.path, lambda: guarded(facts.path, lambda: pq.read_metadata(facts.path)))

    def _file(self, facts: ParquetFacts, verify: bool) -> pq.ParquetFile:
        """The open file, the least recently used ones being closed."""
        opened, key = self._handles.files, (facts.path, verify)
        if key not in opened:
            if len(opened) >= MAX_OPEN_FILES:
                opened.popitem(last=False)[1].close()
            footer = self._footer(facts)
            opened[key] = open_parquet(facts.path, verify=verify, repeated=facts.repeated, footer=footer)
        opened.move_to_end(key)
        return opened[key]

    def _open(self, path: Path) -> pa.NativeFile:
        """The open file, without what Arrow knows of parquet. Raises OSError."""
        opened = self._handles.plain
        if path not in opened:
            if len(opened) >= MAX_OPEN_FILES:
                opened.popitem(last=False)[1].close()
            opened[path] = pa.OSFile(str(path))
        opened.move_to_end(path)
        return opened[path]


def _value(column: pa.ChunkedArray, place: int) -> Any:
    """One value of a column: bytes as a buffer, anything else as Python has it. A scalar of Arrow's would be a copy of the bytes."""
    if not pa.types.is_binary(column.type):
        value = column[place].as_py()
        return pa.py_buffer(value) if isinstance(value, bytes) else value
    for chunk in column.chunks:
        if place < len(chunk):
            return _buffer(chunk, place)
        place -= len(chunk)
    raise AssertionError("the row group has as many rows as its footer says")


def _buffer(array: pa.BinaryArray, place: int) -> pa.Buffer | None:
    """The bytes of one value; None for a null."""
    if array.null_count and not array[place].is_valid:
        return None
    _, offsets, data = array.buffers()
    start, end = np.frombuffer(offsets, np.int32)[array.offset + place :][:2].tolist()
    return data if (start, end) == (0, data.size) else data.slice(start, end - start)
