"""What can be told of a parquet file by its footer, before anything of it is decompressed. Knows no schema of training data.

Asks nothing of single columns: pyarrow ends the process where a flipped bit has made a column's type another one than the schema's.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq

from distill_core.errors import DataError

TEXT_BYTES = 16 << 20
"""What the texts of a row group may take decompressed, however few rows it has."""
TEXT_BYTES_PER_ROW = 16 << 10
"""What they may take beyond that: no caption is as long on average."""
MOST_STRETCH = 1000
"""No data grow by more when they are decompressed: latents hardly do, and the padding of short texts not as much."""
PLACES = 16
PLACE_BYTES = 4 << 10
"""What of a file's pages a mark looks at."""
MOST_CHUNKS = 1 << 18
"""Columns of row groups whose places are kept: some 240 MB of memory, if there are so many."""


@dataclass(frozen=True)
class Footer:
    """The footer of one file, parsed."""

    content: pq.FileMetaData

    @property
    def chunks(self) -> int:
        """Columns of row groups, which its memory goes by."""
        return int(self.content.num_row_groups * self.content.num_columns)

    @cached_property
    def columns(self) -> Mapping[str, int]:
        """The number of each column by its path."""
        schema = self.content.schema
        return {schema.column(number).path: number for number in range(self.content.num_columns)}


class Footers:
    """Parsed footers, the least recently used let go of: a footer is not parsed again for each row. Any number of threads may ask."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, Footer] = OrderedDict()
        self._chunks = 0
        self._lock = threading.Lock()

    def of(self, path: Path, parse: Callable[[], pq.FileMetaData]) -> Footer:
        """The footer of a file, as ``parse`` found it."""
        with self._lock:
            if path in self._kept:
                self._kept.move_to_end(path)
                return self._kept[path]
        found = Footer(parse())
        with self._lock:
            if path not in self._kept:
                self._kept[path] = found
                self._chunks += found.chunks
            while self._chunks > MOST_CHUNKS and len(self._kept) > 1:
                self._chunks -= self._kept.popitem(last=False)[1].chunks
        return found


def check_stretch(path: Path, footer: pq.FileMetaData) -> None:
    """Raise DataError if a file takes far more memory than disk: a kilobyte of one letter can be a gigabyte of it."""
    stored = path.stat().st_size
    whole = sum(decompressed(footer, group) for group in range(footer.num_row_groups))
    if whole > stored * MOST_STRETCH + TEXT_BYTES:
        raise DataError(
            f"{path} has {stored:,} bytes, which make {whole:,} when they are decompressed; no latents and captions do, so it is not read"
        )


def decompressed(footer: pq.FileMetaData, group: int) -> int:
    """The bytes of a row group when it is decompressed."""
    return int(footer.row_group(group).total_byte_size)


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
