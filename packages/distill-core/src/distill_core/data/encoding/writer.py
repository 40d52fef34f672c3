"""Writes rows to parquet files that are quick to read in any order. Knows nothing of where the rows come from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from distill_core.data.reading.columns import CaptionRecord, ClipRecord

ROWS_PER_FILE = 1000
"""A footer grows by some 600 bytes a row group; a thousand rows keep opening a file in the milliseconds."""
FILE_BYTES = 256 << 20
"""A file is cut here, too: what is not in a whole file is lost if the machine stops."""
ROW_GROUP_BYTES = 1 << 20
"""A reader decodes a whole row group to get one row. Large rows have a group of their own, small ones share one."""

Columns = Mapping[str, object]


class ParquetWriter:
    """A context manager that writes ``data-00000.parquet`` and so on, each under a hidden name until it is whole.

    It goes on after the files of that name that are there. An error ends the last file where it is: its rows are not lost.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        rows_per_file: int = ROWS_PER_FILE,
        *,
        name: str = "data",
        file_bytes: int = FILE_BYTES,
    ) -> None:
        self._folder = folder
        self._schema = schema
        self._rows_per_file = rows_per_file
        self._file_bytes = file_bytes
        self._name = name
        self._number = 0
        self._group: list[Columns] = []
        self._group_bytes = 0
        self._rows_in_file = 0
        self._bytes_in_file = 0
        self._file: pq.ParquetWriter | None = None

    def __enter__(self) -> ParquetWriter:
        """Make the folder, and see which files are there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        pattern = re.compile(rf"{re.escape(self._name)}-(\d+)\.parquet")
        found = [int(match[1]) for file in self._folder.iterdir() if (match := pattern.fullmatch(file.name))]
        self._number = max(found, default=-1) + 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Publish the last file."""
        try:
            self._publish()
        finally:
            self._beside().unlink(missing_ok=True)

    def add(self, *rows: ClipRecord | CaptionRecord | Columns) -> None:
        """Append rows of the writer's schema, all of them to one file."""
        for row in rows:
            columns = row if isinstance(row, Mapping) else row.columns()
            size = sum(len(value) for value in columns.values() if isinstance(value, bytes))
            self._group.append(columns)
            self._group_bytes += size
            self._bytes_in_file += size
            self._rows_in_file += 1
            if self._group_bytes >= ROW_GROUP_BYTES:
                self._flush()
        if self._rows_in_file >= self._rows_per_file or self._bytes_in_file >= self._file_bytes:
            self._publish()

    def _beside(self) -> Path:
        """Where the current file is written before it is whole; a name that no reader of the folder takes for data."""
        return self._folder / f".{self._name}-{self._number:05d}.parquet.tmp"

    def _flush(self) -> None:
        """Write the collected rows as one row group."""
        if not self._group:
            return
        if self._file is None:
            self._file = open_writer(self._beside(), self._schema)
        self._file.write_table(pa.Table.from_pylist(self._group, schema=self._schema))
        self._group, self._group_bytes = [], 0

    def _publish(self) -> None:
        """Finish the current file, if there is one, and give it its name."""
        self._flush()
        if self._file is None:
            return
        file, self._file = self._file, None
        file.close()
        _sync(self._beside())
        os.replace(self._beside(), self._folder / f"{self._name}-{self._number:05d}.parquet")
        self._number += 1
        self._rows_in_file = self._bytes_in_file = 0


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A file of one's own pages: latents do not compress, and a flipped bit must not pass for a strange sample."""
    return pq.ParquetWriter(
        path, schema, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
    )


def _sync(path: Path) -> None:
    """Bring a file to the disk, so that a name never stands for less than the whole."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
