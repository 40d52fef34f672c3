"""Parquet files with one thing in them changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import SEEK_CUR
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from data_sets import clip

from distill_core.data.reading.columns import T2V_SCHEMA


def write_changed(file: Path, rows: int = 3, at: int = 1, **changes: Any) -> Path:
    """Clips as one file, with some columns of row ``at`` changed."""
    table = [clip(number).columns() for number in range(rows)]
    table[at] |= changes
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(table, schema=T2V_SCHEMA), file)
    return file


@contextmanager
def same_date(file: Path) -> Iterator[None]:
    """Inside, a file is changed, and afterwards nothing says so."""
    before = file.stat()
    yield
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip_a_bit(file: Path, number: int = 0, shape: tuple[int, ...] = (3, 2, 4, 4)) -> None:
    """Damages, in place, the latent of ``clip(number, shape)`` in a file."""
    latent = clip(number, shape).latent_CTHW.numpy().tobytes()
    with file.open("r+b") as opened:
        opened.seek(file.read_bytes().index(latent) + 9)
        (byte,) = opened.read(1)
        opened.seek(-1, SEEK_CUR)
        opened.write(bytes([byte ^ 1]))
