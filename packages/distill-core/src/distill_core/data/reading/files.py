"""Parquet files as a data set sees them: which there are, what their footers say, and whole columns read out of them.

Knows the shape of a file, not the meaning of its columns. Every fault is a DataError that names the file, and the row where
it is that of one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from distill_core.data.reading.footers import Footer
from distill_core.errors import DataError

ResultT = TypeVar("ResultT")
DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError)
"""What pyarrow raises for a file that is not as it was written."""
SUFFIXES = frozenset({".parquet", ".pq", ".parq"})
"""What parquet files are called, in small letters or capitals."""
MAGIC = b"PAR1"
"""What they begin with, whatever they are called."""
ENCODED = "`distill data encode`"
"""The command that makes data sets."""
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

    def is_binary(self, name: str) -> bool:
        """Whether a column is there, once, and holds bytes as most programs store them."""
        number = self.schema.get_field_index(name)
        return bool(number >= 0 and pa.types.is_binary(self.schema.field(number).type))

    def group_rows(self, group: int) -> range:
        """The rows of one row group."""
        return range(self.group_ends[group - 1] if group else 0, self.group_ends[group])


def find_parquet(path: Path, made_by: str = ENCODED) -> list[Path]:
    """One file, or every parquet file in a folder, the folders below and those that are linked there, ordered by name.

    ``made_by``: the command that makes what is looked for, for a person who has none of it.
    Names that begin with a dot or an underscore are nobody's data, as everywhere in the parquet world.
    """
    if not path.exists():
        raise DataError(
            f"{path} does not exist; set data.path to a folder of parquet files, as {made_by} makes one, or to a data set of the "
            "Hugging Face Hub, owner/name"
        )
    if path.is_file():
        with path.open("rb") as file:
            begins = file.read(len(MAGIC))
        if path.suffix.lower() not in SUFFIXES and begins != MAGIC:
            raise DataError(f"{path} is no parquet file; name one, or a folder of them, as {made_by} makes")
        return [path]
    files = sorted((file.relative_to(path).as_posix(), file) for file in _files(path, frozenset()))
    data = [file for _, file in files if file.suffix.lower() in SUFFIXES]
    if not data:
        others = ", ".join(name for name, _ in files[:OTHERS_SHOWN])
        there = f" (there are: {others}{', …' if len(files) > OTHERS_SHOWN else ''})" if files else ""
        what = " from videos or captions" if made_by == ENCODED else ""
        raise DataError(f"{path} holds no parquet file{there}; {made_by} makes them{what}")
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


def open_parquet(
    path: Path, *, verify: bool = True, repeated: Sequence[str] = (), footer: Footer | None = None
) -> pq.ParquetFile:
    """Open a file. With ``verify`` its pages, where they carry checksums, are compared with them when they are read.

    Without, it is mapped into memory, which reads half as fast again but ends the process where a disk fails; what has been read
    once by system calls, which report that, is not likely to fail. Columns of ``repeated`` texts are read as dictionaries: a long text
    that stands there once for many rows is in memory once. A ``footer`` is not parsed again.
    """
    read = {"page_checksum_verification": verify, "memory_map": not verify, "read_dictionary": list(repeated)}
    known = None if footer is None else footer.content
    return guarded(path, lambda: pq.ParquetFile(path, metadata=known, **read))


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
