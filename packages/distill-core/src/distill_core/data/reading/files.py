"""Parquet files as a data set sees them: which there are, what their footers say, and rows read out of them.

Knows the shape of a file, not the meaning of its columns. Every fault is a DataError that names the file, and the row where
it is that of one row.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill_core.data.reading.bad_rows import BadRowError
from distill_core.errors import DataError

ResultT = TypeVar("ResultT")
DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError)
"""What pyarrow raises for a file that is not as it was written."""
MAX_OPEN_FILES = 64
SUFFIXES = frozenset({".parquet", ".pq", ".parq"})
"""What parquet files are called, in small letters or capitals."""
OTHERS_SHOWN = 5
REPEATED_TEXTS = ("id", "caption")
"""Columns that are read as dictionaries."""
TEXTS_AT_ONCE = 256
"""Rows whose texts are in memory at once."""


@dataclass(frozen=True)
class ParquetFacts:
    """What the footer of one file says.

    Attributes:
        path: the file.
        name: its path inside the data set, with forward slashes.
        size: its bytes.
        schema: its columns and their types.
        group_ends: for each row group, the row of the file that it ends before.
        modified_ns: when its content was changed last.
    """

    path: Path
    name: str
    size: int
    schema: pa.Schema
    group_ends: tuple[int, ...]
    modified_ns: int

    def refuse_change(self) -> None:
        """Raise DataError if the file has been written to since: rows that were verified are not known to be what they were."""
        try:
            now = self.path.stat()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read any more: {error.strerror}; put it back") from error
        if (now.st_size, now.st_mtime_ns) != (self.size, self.modified_ns):
            raise DataError(
                f"{self.path} has been written to since the run opened it; put back what it was, and go on from the last checkpoint"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(self.schema.names)

    @property
    def metadata(self) -> Mapping[bytes, bytes]:
        """What its writer recorded beside the schema."""
        return self.schema.metadata or {}

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return self.group_ends[-1] if self.group_ends else 0

    @property
    def repeated(self) -> tuple[str, ...]:
        """Its columns of texts that may be the same in many rows of a row group."""
        if self.rows <= len(self.group_ends):
            return ()
        there = (self.schema.field(name) for name in REPEATED_TEXTS if self.columns.count(name) == 1)
        return tuple(field.name for field in there if pa.types.is_string(field.type))

    def group_rows(self, group: int) -> range:
        """The rows of one row group."""
        return range(self.group_ends[group - 1] if group else 0, self.group_ends[group])


def find_parquet(path: Path) -> list[Path]:
    """One file, or every parquet file in a folder, the folders below and those that are linked there, ordered by name.

    Names that begin with a dot or an underscore are nobody's data, as everywhere in the parquet world.
    """
    if not path.exists():
        raise DataError(
            f"{path} does not exist; set data.path to a folder of parquet files, as `distill data encode` makes one, or to a data "
            "set of the Hugging Face Hub, owner/name"
        )
    if path.is_file():
        return [path]
    files = sorted((file.relative_to(path).as_posix(), file) for file in _files(path, frozenset()))
    data = [file for _, file in files if file.suffix.lower() in SUFFIXES]
    if not data:
        others = ", ".join(name for name, _ in files[:OTHERS_SHOWN])
        there = f" (there are: {others}{', …' if len(files) > OTHERS_SHOWN else ''})" if files else ""
        raise DataError(
            f"{path} holds no parquet file{there}; `distill data encode` makes them from videos or captions"
        )
    return data


def _files(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Every file in a folder and below that is not hidden; a link that leads back ``above`` is not followed."""
    above |= {folder.resolve()}
    try:
        content = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error
    for path in content:
        if path.name.startswith((".", "_")):
            continue
        if path.is_file():
            yield path
        elif path.is_dir() and path.resolve() not in above:
            yield from _files(path, above)


def read_facts(path: Path, root: Path) -> ParquetFacts:
    """The footer of one file of the data set at ``root``."""
    with open_parquet(path) as file:
        return facts_of(file, path, root)


def facts_of(file: pq.ParquetFile, path: Path, root: Path) -> ParquetFacts:
    """What the footer of the open file at ``path`` says."""
    footer = file.metadata
    sizes = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    if min(sizes, default=0) < 0 or sum(sizes) != footer.num_rows:
        raise DataError(f"{path} is damaged: its footer contradicts itself about rows; remove it or write it again")
    name = path.name if path == root else path.relative_to(root).as_posix()
    now = path.stat()
    return ParquetFacts(path, name, now.st_size, file.schema_arrow, tuple(accumulate(sizes)), now.st_mtime_ns)


def open_parquet(path: Path, *, verify: bool = True, repeated: Sequence[str] = ()) -> pq.ParquetFile:
    """Open a file. With ``verify`` its pages, where they carry checksums, are compared with them when they are read.

    Without, it is mapped into memory, which reads half as fast again but ends the process where a disk fails; what has been read
    once by system calls, which report that, is not likely to fail. Columns of ``repeated`` texts are read as dictionaries: a long text
    that stands there once for many rows is in memory once.
    """
    read = {"page_checksum_verification": verify, "memory_map": not verify, "read_dictionary": list(repeated)}
    return guarded(path, lambda: pq.ParquetFile(path, **read))


def guarded(path: Path, work: Callable[[], ResultT]) -> ResultT:
    """``work()``, with what Arrow and the operating system raise turned into a DataError."""
    try:
        return work()
    except DAMAGE as error:
        raise DataError(f"{path} is no parquet file or is damaged: {error}; remove it or write it again") from error


def check_rows(table: pa.Table, rows: int) -> None:
    """Raise one of DAMAGE if what was read has other rows than its footer says."""
    if len(table) != rows:
        raise pa.ArrowInvalid(f"it has {len(table)} rows, its footer says {rows}")


def read_columns(facts: ParquetFacts, columns: Sequence[str]) -> pa.Table:
    """Whole columns, nulls and all."""
    with open_parquet(facts.path) as file:
        return guarded(facts.path, lambda: file.read(list(columns), use_threads=False))


def texts_of(facts: ParquetFacts, column: str) -> Iterator[str]:
    """The different values of a column of texts, some more than once, nulls left out; no more than some rows are in memory."""
    with open_parquet(facts.path, repeated=facts.repeated) as file:
        batches = file.iter_batches(TEXTS_AT_ONCE, columns=[column], use_threads=False)
        while (batch := guarded(facts.path, lambda: next(batches, None))) is not None:
            yield from guarded(facts.path, batch.column(0).drop_null().unique().to_pylist)


@dataclass(frozen=True)
class StoredRow:
    """The columns of one row.

    Attributes:
        values: by column, none of them None; bytes as an Arrow buffer, in the memory that they were decoded to.
        owned: whether that memory holds this row alone and nobody keeps it: then it may be written to.
    """

    values: Mapping[str, Any]
    owned: bool


@dataclass(frozen=True)
class _Group:
    """A decoded row group."""

    path: Path
    group: int
    verified: bool
    table: pa.Table


class _Handles(threading.local):
    """What one thread keeps: its open files, and the row group that it decoded last."""

    def __init__(self) -> None:
        self.files: OrderedDict[tuple[Path, bool], pq.ParquetFile] = OrderedDict()
        self.last: _Group | None = None


class RowReader:
    """Reads single rows. Several threads may use one reader; each opens files for itself."""

    def __init__(self, columns: Sequence[str], optional: Sequence[str] = ()) -> None:
        """``columns`` are in every file, each with a value; those of ``optional`` may be missing from a file, or null."""
        self._columns = list(columns)
        self._optional = list(optional)
        self._handles = _Handles()

    def read_row(self, facts: ParquetFacts, row: int, *, verify: bool = True) -> StoredRow:
        """One row; ``verify`` as for :func:`open_parquet`.

        Raises BadRowError where a column is null or the row group cannot be read, DataError where the file cannot be opened.
        """
        group = bisect_right(facts.group_ends, row)
        rows = facts.group_rows(group)
        try:
            table = self._group(facts, group, len(rows), verify)
            check_rows(table, len(rows))
        except DAMAGE as error:
            raise BadRowError(facts.path, row, f"its row group is damaged: {error}") from error
        try:
            values = {name: _value(table.column(name), row - rows.start) for name in self._columns}
        except UnicodeDecodeError as error:
            raise BadRowError(facts.path, row, f"it holds a text that is not UTF-8: {error}") from error
        for name, value in values.items():
            if value is None:
                raise BadRowError(facts.path, row, f"{name} is null")
        there = [name for name in self._optional if name in facts.columns]
        values |= {name: _value(table.column(name), row - rows.start) for name in there}
        return StoredRow(values, owned=len(rows) == 1)

    def _group(self, facts: ParquetFacts, group: int, rows: int, verify: bool) -> pa.Table:
        """One decoded row group. A group of several rows is kept, for its other rows; one of a single row is given away."""
        path, last = facts.path, self._handles.last
        columns = [*self._columns, *(name for name in self._optional if name in facts.columns)]
        if last is not None and (last.path, last.group) == (path, group) and (last.verified or not verify):
            return last.table
        file = self._file(facts, verify)
        self._handles.last = last = None  # let the old group go before the new one takes memory
        table = file.read_row_group(group, columns, use_threads=False)
        if rows > 1:
            self._handles.last = _Group(path, group, verify, table)
        return table

    def _file(self, facts: ParquetFacts, verify: bool) -> pq.ParquetFile:
        """The open file, the least recently used ones being closed."""
        files, key = self._handles.files, (facts.path, verify)
        if key not in files:
            if len(files) >= MAX_OPEN_FILES:
                files.popitem(last=False)[1].close()
            files[key] = open_parquet(facts.path, verify=verify, repeated=facts.repeated)
        files.move_to_end(key)
        return files[key]


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
