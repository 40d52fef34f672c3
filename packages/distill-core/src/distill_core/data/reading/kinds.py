"""What can be known of every row of a data set without reading a tensor: its shapes, or why it cannot be trained on."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.columns import LATENT, T2V_SCHEMA, TEXT
from distill_core.data.reading.files import DAMAGE, ParquetFacts, check_rows, open_parquet
from distill_core.data.reading.footers import TEXT_BYTES, TEXT_BYTES_PER_ROW, decompressed
from distill_core.data.reading.origin import Origin
from distill_core.data.reading.tensors import dtype_of, misshape, unknown_dtype
from distill_core.data.reading.usable import has_latents

Shape = tuple[int, ...]
LARGEST_VALUE = 8
"""Bytes of a value in the largest dtype."""
ROWS_AT_ONCE = 1024
"""Rows whose texts are in memory at once."""
DIMENSIONS = {LATENT: "CTHW", TEXT: "LD"}
"""The dimensions of each tensor of a row."""


@dataclass(frozen=True)
class Kind:
    """What decides whether a row fits a model: its shapes.

    Attributes:
        latent_CTHW: that of its latent; None for a caption alone.
        text_LD: that of its encoded caption.
    """

    latent_CTHW: Shape | None
    text_LD: Shape


@dataclass(frozen=True)
class RowKinds:
    """The kind of every row.

    Attributes:
        kinds: the kinds that there are.
        of_row: for each row the place of its kind, int32; -1 for a row that has none.
        faults: the rows that have none: columns that are null, shapes and dtypes that are none, row groups that cannot be read.
    """

    kinds: tuple[Kind, ...]
    of_row: np.ndarray
    faults: Mapping[int, BadRowError]

    def rows_of(self, kind: Kind) -> np.ndarray:
        """The rows of one kind."""
        return np.flatnonzero(self.of_row == self.kinds.index(kind))

    def counts(self) -> dict[Kind, int]:
        """How many rows are of each kind."""
        return {kind: len(self.rows_of(kind)) for kind in self.kinds}


@dataclass(frozen=True, eq=False)
class Found:
    """What was found of some rows, without reading a tensor.

    Attributes:
        what: each kind that there is, and each reason for which a row has none.
        of_row: for each row the place of its own.
    """

    what: list[Kind | str]
    of_row: np.ndarray


def kinds_of(files: Sequence[ParquetFacts], founds: Sequence[Found]) -> RowKinds:
    """The kind of every row of these files, from what was found of each."""
    places: dict[Kind, int] = {}
    of_row = np.full(sum(file.rows for file in files), -1, np.int32)
    faults: dict[int, BadRowError] = {}
    first = 0
    for file, found in zip(files, founds, strict=True):
        rows = of_row[first : first + len(found.of_row)]
        for number in _in_order(found.of_row):
            what = found.what[number]
            if isinstance(what, Kind):
                rows[found.of_row == number] = places.setdefault(what, len(places))
                continue
            for row in np.flatnonzero(found.of_row == number).tolist():
                faults[first + row] = BadRowError(file.path, row, what)
        first += len(found.of_row)
    return RowKinds(tuple(places), of_row, dict(sorted(faults.items())))


def look_at(files: Sequence[ParquetFacts]) -> list[Found]:
    """What is found of the rows of each file, several files at once."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        return list(threads.map(_of_file, files))


def _in_order(places: np.ndarray) -> list[int]:
    """The different places, in the order in which they first come."""
    found, first = np.unique(places, return_index=True)
    in_order: list[int] = found[np.argsort(first)].tolist()
    return in_order


def _of_file(facts: ParquetFacts) -> Found:
    """The kind of every row of a file, or why it has none."""
    if not facts.rows:
        return Found([], np.empty(0, np.int64))
    groups = range(len(facts.group_ends))
    with open_parquet(facts.path, repeated=facts.repeated) as file:
        look = _Look(facts, file, (TEXT, LATENT) if has_latents(facts) else (TEXT,))
        try:
            return look.at(groups)
        except DAMAGE:
            return _joined([look.at_one(group) for group in groups])


def _joined(parts: Sequence[Found]) -> Found:
    """Parts of a file, one after another, as one."""
    places: dict[Kind | str, int] = {}
    of_row = [np.array([places.setdefault(what, len(places)) for what in part.what])[part.of_row] for part in parts]
    return Found(list(places), np.concatenate(of_row))


@dataclass(frozen=True)
class _Look:
    """A look at the columns of one file, but for its tensors.

    Attributes:
        facts: what its footer says.
        file: the open file.
        names: the tensors that each row has.
    """

    facts: ParquetFacts
    file: pq.ParquetFile
    names: Sequence[str]

    def at_one(self, group: int) -> Found:
        """The kind of each row of a row group that may be damaged, or why it has none."""
        try:
            return self.at(range(group, group + 1))
        except DAMAGE as error:
            rows = len(self.facts.group_rows(group))
            return Found([f"its row group is damaged: {error}"], np.zeros(rows, np.int64))

    def at(self, groups: range) -> Found:
        """The kind of each row of some row groups, or why it has none. Raises one of DAMAGE if they are damaged."""
        columns = [f"{name}_shape" for name in self.names]
        table = self.file.read_row_groups(list(groups), columns, use_threads=False)
        counts = [len(self.facts.group_rows(group)) for group in groups]
        check_rows(table, sum(counts))
        shapes, of_row = different_shapes([table.column(name) for name in columns])
        what: list[Kind | str] = [self._misshapen(each) or self._kind(each) for each in shapes]
        fitting = np.array([isinstance(each, Kind) for each in what], bool)[of_row]
        values = np.array([_values(each) for each in shapes], object)
        for group, start, reason in self._oversize(groups, counts, values[of_row]):
            rows = np.arange(start, start + counts[group - groups.start])
            of_row[rows[fitting[rows]]] = len(what)
            what.append(reason)
        for row, reason in self._unreadable(groups).items():
            if fitting[row]:
                of_row[row] = len(what)
                what.append(reason)
        return Found(what, of_row)

    def _kind(self, shapes: Sequence[Sequence[int | None] | None]) -> Kind:
        """The kind of a row of these shapes, which are all there."""
        text_LD, *latent_CTHW = (tuple(size for size in shape or () if size is not None) for shape in shapes)
        return Kind(latent_CTHW[0] if latent_CTHW else None, text_LD)

    def _misshapen(self, shapes: Sequence[Sequence[int | None] | None]) -> str | None:
        """Why the shapes of a row are none, or None if they are."""
        for name, shape in zip(self.names, shapes, strict=True):
            if shape is None:
                return f"{name}_shape is null"
            if fault := misshape(shape, DIMENSIONS[name]):
                return f"{name} {fault}"
        return None

    def _unreadable(self, groups: range) -> dict[int, str]:
        """Rows whose texts, or names of dtypes, cannot be used, counted from the first of some row groups.

        Those of our own files are as they were written; a flipped bit is found when a row is read.
        """
        if Origin.of(self.facts.metadata) is not None:
            return {}
        reasons: dict[int, str] = {}
        columns = ["id", "caption", *(f"{name}_dtype" for name in self.names)]
        first = 0
        for batch in self.file.iter_batches(ROWS_AT_ONCE, row_groups=list(groups), columns=columns, use_threads=False):
            for column in columns:
                for row, fault in _unusable(column, batch.column(column)):
                    reasons.setdefault(first + row, fault)
            first += len(batch)
        return reasons

    def _oversize(self, groups: range, counts: Sequence[int], values: np.ndarray) -> Iterator[tuple[int, int, str]]:
        """Row groups that must not be read, each with its first row and why: decompressed, they take more than their shapes and texts make.

        Where a file has columns of others, nothing is known of what they take. ``values``: of the tensors of each row.
        """
        if not set(self.facts.columns) <= set(T2V_SCHEMA.names):
            return
        footer, start = self.file.metadata, 0
        sums = np.concatenate([[0], np.cumsum(values)])
        for group, rows in zip(groups, counts, strict=True):
            most = int(sums[start + rows] - sums[start]) * LARGEST_VALUE + rows * TEXT_BYTES_PER_ROW + TEXT_BYTES
            size = decompressed(footer, group)
            if size > most:
                yield group, start, f"its row group makes {size:,} bytes, its shapes and captions at most {most:,}"
            start += rows


def _values(shapes: Sequence[Sequence[int | None] | None]) -> int:
    """The values of the tensors of a row of these shapes."""
    return sum(math.prod(size or 0 for size in shape) for shape in shapes if shape)


def different_shapes(columns: Sequence[pa.ChunkedArray]) -> tuple[list[tuple[Any, ...]], np.ndarray]:
    """The different rows of some columns of shapes, and for each row the place of its own."""
    tables = [_sizes(column) for column in columns]
    if any(table is None for table in tables):
        return _different(list(zip(*(_hashable(column) for column in columns), strict=True)))
    sizes = np.concatenate([table for table in tables if table is not None], axis=1)
    _, first, of_row = np.unique(_numbered(sizes), return_index=True, return_inverse=True)
    ends = np.cumsum([0, *(table.shape[1] for table in tables if table is not None)]).tolist()
    found = [tuple(tuple(row[start:end]) for start, end in pairwise(ends)) for row in sizes[first].tolist()]
    return found, of_row.reshape(-1)


def _sizes(column: pa.ChunkedArray) -> np.ndarray | None:
    """Shapes of one length without nulls as int64 [rows, dimensions]; None if they are anything else."""
    array = column.combine_chunks()
    if not pa.types.is_list(array.type) or not len(array) or array.null_count:
        return None
    flat, lengths = array.flatten(), array.value_lengths().to_numpy()
    if flat.null_count or not pa.types.is_integer(flat.type) or (lengths != lengths[0]).any():
        return None
    sizes: np.ndarray = flat.to_numpy().astype(np.int64).reshape(len(array), int(lengths[0]))
    return sizes


def _numbered(sizes: np.ndarray) -> np.ndarray:
    """A number for each row, the same for the same rows."""
    numbers = np.zeros(len(sizes), np.int64)
    for column in sizes.T:
        different, places = np.unique(column, return_inverse=True)
        numbers = np.unique(numbers * len(different) + places.reshape(-1), return_inverse=True)[1].reshape(-1)
    return numbers


def _hashable(column: pa.ChunkedArray) -> list[Any]:
    """Shapes, nulls and all."""
    return [None if shape is None else tuple(shape) for shape in column.to_pylist()]


def _different(rows: Sequence[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], np.ndarray]:
    """The different ones, and for each the place of its own."""
    places: dict[tuple[Any, ...], int] = {}
    of_row = np.array([places.setdefault(row, len(places)) for row in rows], np.int64)
    return list(places), of_row


def _unusable(column: str, values: pa.Array) -> Iterator[tuple[int, str]]:
    """The rows whose value of a column is null, no text, or the name of no dtype, each with why."""
    if not pa.types.is_integer(values.type):
        try:
            (values.dictionary if pa.types.is_dictionary(values.type) else values).validate(full=True)
        except pa.ArrowInvalid:
            yield from ((row, fault) for row, value in enumerate(values) if (fault := _not_text(column, value)))
            return
    if values.null_count:
        yield from ((row, f"{column} is null") for row, value in enumerate(values) if not value.is_valid)
    if column.endswith("_dtype"):
        unknown = {name for name in values.unique().to_pylist() if name is not None and dtype_of(name) is None}
        for row, name in enumerate(values.to_pylist() if unknown else ()):
            if name in unknown:
                yield row, f"{column.removesuffix('_dtype')} {unknown_dtype(name)}"


def _not_text(column: str, value: pa.Scalar) -> str | None:
    """Why a value is no text, or None if it is one."""
    try:
        return None if value.as_py() is not None else f"{column} is null"
    except UnicodeDecodeError:
        return f"{column} is not UTF-8 text"
