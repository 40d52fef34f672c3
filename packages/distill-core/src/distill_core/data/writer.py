"""Writes rows to parquet files that are quick to read in any order. Knows nothing of where the rows come from."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from distill_core.data.columns import CaptionRecord, ClipRecord

ROWS_PER_FILE = 1000
"""A footer grows by some 600 bytes a row group; a thousand rows keep opening a file in the milliseconds."""
ROW_GROUP_BYTES = 1 << 20
"""A reader decodes a whole row group to get one row. Large rows have a group of their own, small ones share one."""


class ParquetWriter:
    """A context manager that writes ``data-00000.parquet`` and so on, each under a temporary name until it is whole."""

    def __init__(self, folder: Path, schema: pa.Schema, rows_per_file: int = ROWS_PER_FILE) -> None:
        self._folder = folder
        self._schema = schema
        self._rows_per_file = rows_per_file
        self._group: list[dict[str, object]] = []
        self._group_bytes = 0
        self._rows = 0
        self._file: pq.ParquetWriter | None = None

    def __enter__(self) -> ParquetWriter:
        """Make the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Publish the last file, or remove it if an error ended the writing."""
        if kind is None:
            self._publish()
        elif self._file is not None:
            self._file.close()
            self._beside().unlink()

    @property
    def rows(self) -> int:
        """Rows added so far."""
        return self._rows

    def add(self, record: ClipRecord | CaptionRecord) -> None:
        """Append one row of the writer's schema."""
        columns = record.columns()
        self._group.append(columns)
        self._group_bytes += sum(len(value) for value in columns.values() if isinstance(value, bytes))
        self._rows += 1
        if self._group_bytes >= ROW_GROUP_BYTES:
            self._flush()
        if self._rows % self._rows_per_file == 0:
            self._publish()

    def _number(self) -> int:
        """The number of the file that the last added row belongs to."""
        return (self._rows - 1) // self._rows_per_file

    def _beside(self) -> Path:
        """Where the current file is written before it is whole."""
        return self._folder / f"data-{self._number():05d}.parquet.tmp"

    def _flush(self) -> None:
        """Write the collected rows as one row group."""
        if not self._group:
            return
        if self._file is None:
            self._file = pq.ParquetWriter(
                self._beside(),
                self._schema,
                compression="lz4",
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
            )
        self._file.write_table(pa.Table.from_pylist(self._group, schema=self._schema))
        self._group, self._group_bytes = [], 0

    def _publish(self) -> None:
        """Finish the current file, if there is one, and give it its name."""
        self._flush()
        if self._file is None:
            return
        self._file.close()
        self._file = None
        os.replace(self._beside(), self._beside().with_suffix(""))
