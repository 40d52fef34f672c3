"""What can be known of every row of a data set without reading a tensor: its shapes, or why it cannot be trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.columns import LATENT, TEXT
from distill_core.data.reading.files import ParquetFacts, open_parquet
from distill_core.data.reading.footers import column_numbers
from distill_core.data.reading.tensors import dtype_of, misshape, unknown_dtype
from distill_core.data.reading.usable import has_latents

Shape = tuple[int, ...]
LARGEST_VALUE = 8
"""Bytes of a value in the largest dtype."""
SLACK = 1 << 20
"""Bytes that a column of tensors may take beyond its values."""
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
    with open_parquet(facts.path) as file:
        look = _Look(facts, file, column_numbers(file.metadata), (TEXT, LATENT) if has_latents(facts) else (TEXT,))
        try:
            return look.at(groups)
        except (pa.ArrowException, OSError):
            return [found for group in groups for found in look.at_one(group)]


@dataclass(frozen=True)
class _Look:
    """A look at the columns of one file, but for its tensors.

    Attributes:
        facts: what its footer says.
        file: the open file.
        numbers: where its columns stand in the footer.
        names: the tensors that each row has.
    """

    facts: ParquetFacts
    file: pq.ParquetFile
    numbers: Mapping[str, Sequence[int]]
    names: Sequence[str]

    def at_one(self, group: int) -> list[Kind | str]:
        """The kind of each row of a row group that may be damaged, or why it has none."""
        try:
            return self.at(range(group, group + 1))
        except (pa.ArrowException, OSError) as error:
            return [f"its row group is damaged: {error}"] * len(self.facts.group_rows(group))

    def at(self, groups: range) -> list[Kind | str]:
        """The kind of each row of some row groups, or why it has none."""
        columns = [f"{name}_shape" for name in self.names]
        table = self.file.read_row_groups(list(groups), columns, use_threads=False)
        shapes = list(zip(*(table.column(name).to_pylist() for name in columns), strict=True))
        found: list[Kind | str] = []
        for group in groups:
            rows = self.facts.group_rows(group)
            of_group = shapes[len(found) : len(found) + len(rows)]
            reasons, oversize = self._unreadable(group), self._oversize(group, of_group)
            found += [
                self._misshapen(row) or reasons.get(place) or oversize or self._kind(row)
                for place, row in enumerate(of_group)
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

    def _unreadable(self, group: int) -> dict[int, str]:
        """Rows of a row group whose texts, or names of dtypes, cannot be used, as far as the footer gives reason to look."""
        reasons: dict[int, str] = {}
        for column in ("id", "caption", *(f"{name}_dtype" for name in self.names)):
            if self._may_be_bad(group, column):
                values = self.file.read_row_group(group, [column], use_threads=False).column(column).to_pylist()
                for row, value in enumerate(values):
                    if (fault := _unusable(column, value)) is not None:
                        reasons.setdefault(row, fault)
        return reasons

    def _may_be_bad(self, group: int, column: str) -> bool:
        """Whether the footer counts nulls in a column of texts, or does not say that every dtype is a known one."""
        statistics = self.file.metadata.row_group(group).column(self.numbers[column][0]).statistics
        if statistics is None:
            return False
        if statistics.has_null_count and statistics.null_count:
            return True
        same = statistics.has_min_max and statistics.min == statistics.max
        return column.endswith("_dtype") and not (same and _unusable(column, statistics.min) is None)

    def _oversize(self, group: int, shapes: Sequence[Sequence[Sequence[int | None] | None]]) -> str | None:
        """Why a row group must not be read, or None: decompressed, it takes more than its shapes make."""
        footer = self.file.metadata.row_group(group)
        for name, of_rows in zip(self.names, zip(*shapes, strict=True), strict=True):
            size = footer.column(self.numbers[f"{name}_bytes"][0]).total_uncompressed_size
            due = LARGEST_VALUE * sum(math.prod(part or 0 for part in shape) for shape in of_rows if shape)
            if size > due + SLACK:
                return f"its row group has {size:,} bytes of {name}, its shapes make at most {due:,}"
        return None


def _unusable(column: str, value: str | None) -> str | None:
    """Why a text, or the name of a dtype, cannot be used, or None if it can."""
    if value is None:
        return f"{column} is null"
    if column.endswith("_dtype") and dtype_of(value) is None:
        return f"{column.removesuffix('_dtype')} {unknown_dtype(value)}"
    return None
