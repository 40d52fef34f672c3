"""A data set: parquet files in either schema, as rows by number. Knows neither batches nor their order, and no model.

``open_dataset`` reads footers only, ``ParquetDataset[i]`` one row, ``kinds`` the shape columns and no payload.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path

from torch import Tensor

from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.columns import CAPTION_COLUMNS, LATENT, LATENT_COLUMNS, TEXT
from distill_core.data.reading.files import (
    ENCODED,
    ParquetFacts,
    facts_of,
    find_parquet,
    open_parquet,
    read_columns,
    texts_of,
)
from distill_core.data.reading.footers import check_stretch, mark
from distill_core.data.reading.index import DatasetIndex
from distill_core.data.reading.kinds import DIMENSIONS, Kind, RowKinds, Shape, kinds_of, look_at
from distill_core.data.reading.made_with import check_made_with
from distill_core.data.reading.origin import Origin
from distill_core.data.reading.rows import RowReader, StoredRow
from distill_core.data.reading.tensors import tensor_of
from distill_core.data.reading.usable import check_columns, check_declared
from distill_core.errors import DataError
from distill_core.plugins.columns import Column
from distill_core.protocols import Row

FPS = "fps"
"""The column of frames per second, which not every data set has."""


class NoRowsError(DataError):
    """A data set without rows."""


@dataclass(frozen=True)
class DatasetSummary:
    """What can be known of a data set without reading a latent or an embedding.

    Attributes:
        path: where it lies.
        has_latents: whether its rows are read with their latents.
        kinds: every kind of row, and how many rows are of it.
        text_lengths: the lengths that captions were cut at, as far as files record them.
    """

    path: Path
    has_latents: bool
    kinds: Mapping[Kind, int]
    text_lengths: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(self.kinds.values())

    @property
    def latent_shapes(self) -> Mapping[Shape, int]:
        """Every stored [C, T, H, W] and how many rows have it; empty for captions alone."""
        counts: Counter[Shape] = Counter()
        for kind, rows in self.kinds.items():
            if kind.latent_CTHW is not None:
                counts[kind.latent_CTHW] += rows
        return counts

    @property
    def text_widths(self) -> tuple[int, ...]:
        """Every stored number of features D of a text token, ascending."""
        return tuple(sorted({kind.text_LD[1] for kind in self.kinds}))

    @property
    def max_text_length(self) -> int:
        """The largest number of text tokens L."""
        return max(kind.text_LD[0] for kind in self.kinds)


class ParquetDataset:
    """Rows by number, in the order of file names and of rows in them. Any number of threads may read it."""

    def __init__(
        self,
        path: Path,
        files: Sequence[ParquetFacts],
        latents: bool,
        declared: Sequence[Column] = (),
        index: DatasetIndex | None = None,
    ) -> None:
        self.path = path
        self.latents = latents
        self.declared = tuple(declared)
        self.files = tuple(files)
        self._index = index
        self._file_ends = tuple(accumulate(file.rows for file in files))
        columns = (*CAPTION_COLUMNS, *LATENT_COLUMNS) if latents else CAPTION_COLUMNS
        declared_columns = tuple(name for column in declared for name in column.stored)
        self._reader = RowReader((*columns, *declared_columns), optional=(FPS,))
        self._verified = bytearray(len(self))

    def __len__(self) -> int:
        return self._file_ends[-1]

    def __getitem__(self, index: int) -> Row:
        """The row ``index``, 0 ≤ index < len. Raises BadRowError if it is malformed.

        Checksums and values are verified when a row is first read, and not in the epochs after that: then it is enough that nobody has
        written to the file, which raises DataError.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a data set of {len(self)} rows")
        file, row = self.locate(index)
        if (known := self.kinds.faults.get(index)) is not None:
            raise BadRowError(file.path, row, known.reason)
        verify = not self._verified[index]
        if not verify:
            file.refuse_change()
        stored = self._reader.read_row(file, row, verify=verify)
        try:
            latent_CTHW = _tensor(stored, LATENT, verify) if self.latents else None
            found = Row(
                id=str(stored.values["id"]),
                caption=stored.values["caption"],
                text_LD=_tensor(stored, TEXT, verify),
                latent_CTHW=latent_CTHW,
                fps=_rate(stored),
                tensors={column.name: _declared(stored, column, latent_CTHW, verify) for column in self.declared},
            )
        except DataError as error:
            raise BadRowError(file.path, row, str(error)) from error
        self._verified[index] = 1
        return found

    def locate(self, index: int) -> tuple[ParquetFacts, int]:
        """The file that a row lies in, and its number there."""
        number = bisect_right(self._file_ends, index)
        return self.files[number], index - (self._file_ends[number - 1] if number else 0)

    @cached_property
    def identities(self) -> tuple[str, ...]:
        """The id of every row."""
        return tuple(str(found) for file in self.files for found in read_columns(file, ["id"]).column(0).to_pylist())

    def captions(self, count: int) -> tuple[str, ...]:
        """The first ``count`` distinct captions, or as many as there are."""
        found: dict[str, None] = {}
        for file in self.files:
            for caption in texts_of(file, "caption") if file.rows else ():
                if len(found) >= count:
                    return tuple(found)
                found[caption] = None
        return tuple(found)

    def source_of(self, caption: str) -> str | None:
        """The first row that has this caption, as ``file:row``; None where none has."""
        for file in self.files:
            texts = read_columns(file, ["caption"]).column(0).to_pylist() if file.rows else []
            if caption in texts:
                return f"{file.path}:{texts.index(caption)}"
        return None

    def layout(self) -> str:
        """A hash of the files' names, sizes and rows: while it is the same, a number stands for the row that it stood for."""
        return _hash(f"{file.name}\0{file.size}\0{file.group_ends}" for file in self.files)

    def fingerprint(self) -> str:
        """A hash of the files' names, their footers, and places of their pages: another one means other data, or another order."""
        return _hash(f"{file.name}\0{mark(file.path)}" for file in self.files)

    @cached_property
    def kinds(self) -> RowKinds:
        """The kind of every row."""
        known = [None if self._index is None else self._index.found(file) for file in self.files]
        looked_at = iter(look_at([file for file, found in zip(self.files, known, strict=True) if found is None]))
        found = [next(looked_at) if each is None else each for each in known]
        if self._index is not None:
            self._index.keep(self.files, found)
        return kinds_of(self.files, found)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be said of how it was opened."""
        return () if self._index is None else tuple(self._index.remarks)

    def summary(self) -> DatasetSummary:
        """Count the kinds. Raises BadRowError for a row that has none."""
        for fault in self.kinds.faults.values():
            raise fault
        return DatasetSummary(self.path, self.latents, self.kinds.counts(), self.text_lengths)

    @property
    def text_lengths(self) -> tuple[int, ...]:
        """The lengths that captions were cut at, as far as the files record them, ascending."""
        origins = [Origin.of(file.metadata) for file in self.files]
        recorded = {origin.text_length for origin in origins if origin is not None}
        return tuple(sorted(length for length in recorded if length is not None))


def open_dataset(
    path: str | Path, latents: bool, declared: Sequence[Column] = (), *, indexed: bool = False
) -> ParquetDataset:
    """The data set in a folder of parquet files, or in one file.

    With ``latents`` every file must have the T2V columns; without, either schema will do and stored latents are not
    read. ``declared`` are further columns that each row must have. ``indexed``: what is found of a large data set is kept for
    the next time (:class:`DatasetIndex`). Raises DataError for a path, a file or columns that cannot be trained on.
    """
    path = Path(path)
    found = find_parquet(path, next((column.made_by for column in declared if column.made_with is not None), ENCODED))
    index = DatasetIndex(path) if indexed else None
    files = [_usable(file, path, latents, declared, index) for file in found]
    if not any(file.rows for file in files):
        raise NoRowsError(f"{path} holds 0 rows; `distill data encode` makes them from videos or captions")
    return ParquetDataset(path, files, latents, declared, index)


def _hash(parts: Iterable[str]) -> str:
    return blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def _usable(
    path: Path, root: Path, latents: bool, declared: Sequence[Column], index: DatasetIndex | None
) -> ParquetFacts:
    """What the footer of a file says, which can be trained on."""
    facts = None if index is None else index.facts(path)
    if facts is not None:
        _check(facts, latents, declared)
        return facts
    with open_parquet(path) as file:
        facts = facts_of(file, path, root)
        _check(facts, latents, declared)
        check_stretch(path, file.metadata)
    return facts


def _check(facts: ParquetFacts, latents: bool, declared: Sequence[Column]) -> None:
    """Raise DataError for a file whose columns cannot be trained on."""
    check_columns(facts, latents)
    check_declared(facts, declared)
    check_made_with(facts, declared)


def _rate(stored: StoredRow) -> float | None:
    """Frames per second, where the row says something that can be."""
    fps = stored.values.get(FPS)
    return float(fps) if isinstance(fps, int | float) and fps > 0 else None


def _declared(stored: StoredRow, column: Column, latent_CTHW: Tensor | None, verify: bool) -> Tensor:
    """A tensor that the run's family or method declared. Raises DataError for one of another shape or dtype."""
    data, shape, dtype = (stored.values[name] for name in column.stored)
    fault = column.misshape(shape, None if latent_CTHW is None else latent_CTHW.shape)
    if fault is None and str(dtype).removeprefix("torch.") not in column.dtypes:
        fault = f"has the dtype {dtype!r}; {' or '.join(column.dtypes)} is due"
    if fault is not None:
        raise DataError(f"{column.name} {fault}")
    try:
        return tensor_of(data, shape, dtype, "N" * len(shape), owned=column.stored[0] in stored.owned, verify=verify)
    except DataError as error:
        raise DataError(f"{column.name} {error}") from error


def _tensor(stored: StoredRow, name: str, verify: bool) -> Tensor:
    """The tensor ``name`` of a row."""
    data, shape, dtype = (stored.values[f"{name}_{part}"] for part in ("bytes", "shape", "dtype"))
    try:
        return tensor_of(data, shape, dtype, DIMENSIONS[name], owned=f"{name}_bytes" in stored.owned, verify=verify)
    except DataError as error:
        raise DataError(f"{name} {error}") from error
