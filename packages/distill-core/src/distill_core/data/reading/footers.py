"""What the footer of a parquet file says of its columns, before a byte of them is read. Knows no schema of training data."""

from __future__ import annotations

import os
from collections.abc import Collection
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq

from distill_core.errors import DataError

TEXT_BYTES = 64 << 20
"""What the texts of a row group may take decompressed, however few rows it has."""
TEXT_BYTES_PER_ROW = 16 << 10
"""What they may take beyond that: no caption is as long on average."""

PLACES = 16
PLACE_BYTES = 4 << 10
"""What of a file's pages a mark looks at."""


def check_text_size(path: Path, footer: pq.FileMetaData, names: Collection[str]) -> None:
    """Raise DataError if columns of texts, decompressed, take more than texts do: a kilobyte on disk can be a gigabyte of memory."""
    numbers = {name: found for name, found in column_numbers(footer).items() if name in names}
    for group in range(footer.num_row_groups):
        facts = footer.row_group(group)
        most = max(TEXT_BYTES, facts.num_rows * TEXT_BYTES_PER_ROW)
        for name, parts in numbers.items():
            size = sum(facts.column(part).total_uncompressed_size for part in parts)
            if size > most:
                raise DataError(
                    f"{path} has {size:,} bytes of {name} in {facts.num_rows} rows, and at most {most:,} are read; "
                    "what is there is no caption: write it again without"
                )


def column_numbers(footer: pq.FileMetaData) -> dict[str, list[int]]:
    """Where a footer's row groups have each column, by its name; a nested column has several parts."""
    numbers: dict[str, list[int]] = {}
    for number in range(footer.num_columns):
        numbers.setdefault(footer.schema.column(number).path.split(".")[0], []).append(number)
    return numbers


def mark(path: Path) -> str:
    """A hash of what a file's footer says, and of places all over its pages.

    Rows of equal sizes have equal footers where a writer counts nothing and compresses nothing, and then differ in their bytes.
    """
    found = blake2b(digest_size=16)
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        _hash_part(found, file, max(0, size - 8 - length), length)
        for place in range(PLACES):
            _hash_part(found, file, size * place // PLACES, PLACE_BYTES)
    return found.hexdigest()


def _hash_part(found: blake2b, file: BinaryIO, start: int, length: int) -> None:
    """Add a part of a file to a hash."""
    file.seek(start)
    found.update(file.read(length))
