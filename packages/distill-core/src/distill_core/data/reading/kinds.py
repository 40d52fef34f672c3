"""What can be known of every row of a data set without reading a tensor: its shapes, or why it cannot be trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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


def kinds_of(files: Sequence[ParquetFacts]) -> RowKinds:
    """The kind of every row of these files."""
    places: dict[Kind, int] = {}
    of_row = np.full(sum(file.rows for file in files), -1, np.int32)
    faults: dict[int, BadRowError] = {}
    first = 0
    for file in files:
        for row, found in enumerate(_of_file(file)):
            if isinstance(found, Kind):
                of_row[first + row] = places.setdefault(found, len(places))
            else:
                faults[first + row] = BadRowError(file.path, row, found)
        first += file.rows
    return RowKinds(tuple(places), of_row, faults)


def _of_file(facts: ParquetFacts) -> list[Kind | str]:
    """The kind of every row of a file, or why it has none."""
    if not facts.rows:
        return []
    groups = range(len(facts.group_ends))
    with open_parquet(facts.path, repeated=facts.repeated) as file:
        look = _Look(facts, file, (TEXT, LATENT) if has_latents(facts) else (TEXT,))
        try:
            return look.at(groups)
        except DAMAGE:
            return [found for group in groups for found in look.at_one(group)]


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

    def at_one(self, group: int) -> list[Kind | str]:
        """The kind of each row of a row group that may be damaged, or why it has none."""
        try:
            return self.at(range(group, group + 1))
        except DAMAGE as error:
            return [f"its row group is damaged: {error}"] * len(self.facts.group_rows(group))

    def at(self, groups: range) -> list[Kind | str]:
        """The kind of each row of some row groups, or why it has none. Raises one of DAMAGE if they are damaged."""
        columns = [f"{name}_shape" for name in self.names]
        table = self.file.read_row_groups(list(groups), columns, use_threads=False)
        check_rows(table, sum(len(self.facts.group_rows(group)) for group in groups))
        shapes = list(zip(*(table.column(name).to_pylist() for name in columns), strict=True))
        reasons = self._unreadable(groups)
        found: list[Kind | str] = []
        for group in groups:
            of_group = shapes[len(found) : len(found) + len(self.facts.group_rows(group))]
            oversize = self._oversize(group, of_group)
            found += [
                self._misshapen(row) or reasons.get(place) or oversize or self._kind(row)
                for place, row in enumerate(of_group, start=len(found))
            ]
        return found

    def _kind(self, shapes: Sequence[Sequence[int]]) -> Kind:
        """The kind of a row of these shapes."""
        text_LD, *latent_CTHW = map(tuple, shapes)
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

    def _oversize(self, group: int, shapes: Sequence[Sequence[Sequence[int | None] | None]]) -> str | None:
        """Why a row group must not be read, or None: decompressed, it takes more than its shapes and texts make.

        Where a file has columns of others, nothing is known of what they take.
        """
        if not set(self.facts.columns) <= set(T2V_SCHEMA.names):
            return None
        values = sum(math.prod(part or 0 for part in shape) for row in shapes for shape in row if shape)
        most = values * LARGEST_VALUE + len(shapes) * TEXT_BYTES_PER_ROW + TEXT_BYTES
        size = decompressed(self.file.metadata, group)
        return f"its row group makes {size:,} bytes, its shapes and captions at most {most:,}" if size > most else None


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
        for row, name in enumerate(values.to_pylist()):
            if name is not None and dtype_of(name) is None:
                yield row, f"{column.removesuffix('_dtype')} {unknown_dtype(name)}"


def _not_text(column: str, value: pa.Scalar) -> str | None:
    """Why a value is no text, or None if it is one."""
    try:
        return None if value.as_py() is not None else f"{column} is null"
    except UnicodeDecodeError:
        return f"{column} is not UTF-8 text"
