"""What the footer of a parquet file says of its columns, before a byte of them is read. Knows no schema of training data."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from distill_core.errors import DataError

TEXT_BYTES = 64 << 20
"""What the texts of a row group may take decompressed, however few rows it has."""
TEXT_BYTES_PER_ROW = 16 << 10
"""What they may take beyond that: no caption is as long on average."""


def check_text_size(path: Path, footer: pq.FileMetaData, names: Collection[str]) -> None:
    """Raise DataError if columns of texts, decompressed, take more than texts do: a kilobyte on disk can be a gigabyte of memory."""
    for group in range(footer.num_row_groups):
        rows = footer.row_group(group).num_rows
        most = max(TEXT_BYTES, rows * TEXT_BYTES_PER_ROW)
        for name, column in columns_of(footer, group):
            if name in names and column.total_uncompressed_size > most:
                raise DataError(
                    f"{path} has {column.total_uncompressed_size:,} bytes of {name} in {rows} rows, and at most {most:,} are read; "
                    "write it again with captions"
                )


def columns_of(footer: pq.FileMetaData, group: int) -> Iterator[tuple[str, pq.ColumnChunkMetaData]]:
    """What a footer says of each column of a row group, by the column's name; a nested column has several parts."""
    facts = footer.row_group(group)
    for number in range(facts.num_columns):
        column = facts.column(number)
        yield column.path_in_schema.split(".")[0], column
