"""A data set: parquet files in either schema, as rows by number. Knows neither batches nor their order, and no model.

``open_dataset`` reads footers only, ``ParquetDataset[i]`` one row, ``summary`` the shape columns and no payload.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
from torch import Tensor

from distill_core.data.columns import CAPTION_COLUMNS, LATENT, LATENT_COLUMNS, TEXT, check_columns
from distill_core.data.files import OpenFiles, ParquetFacts, find_parquet, read_columns
from distill_core.data.tensors import tensor_of
from distill_core.errors import DataError
from distill_core.protocols import Row


@dataclass(frozen=True)
class DatasetSummary:
    """What can be known of a data set without reading a latent or an embedding.

    Attributes:
        path: where it lies.
        rows: how many rows it has.
        has_latents: whether its rows are read with their latents.
        latent_shapes: every stored [C, T, H, W] and how many rows have it; empty for captions alone.
        text_widths: every stored number of features D of a text token, ascending.
        max_text_length: the largest number of text tokens L.
    """

    path: Path
    rows: int
    has_latents: bool
    latent_shapes: Mapping[tuple[int, ...], int]
    text_widths: tuple[int, ...]
    max_text_length: int


class ParquetDataset:
    """Rows by number, in the order of file names and of rows in them. Picklable; opens a file where it is read."""

    def __init__(self, path: Path, files: Sequence[ParquetFacts], latents: bool) -> None:
        self.path = path
        self.latents = latents
        self.files = tuple(files)
        self._file_ends = tuple(accumulate(file.rows for file in files))
        self._open_files = OpenFiles((*CAPTION_COLUMNS, *LATENT_COLUMNS) if latents else CAPTION_COLUMNS)

    def __len__(self) -> int:
        return self._file_ends[-1]

    def __getitem__(self, index: int) -> Row:
        """The row ``index``, 0 ≤ index < len. Raises DataError naming file and row if it is malformed."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a data set of {len(self)} rows")
        number = bisect_right(self._file_ends, index)
        file, row = self.files[number], index - (self._file_ends[number - 1] if number else 0)
        values = self._open_files.read_row(file, row)
        try:
            return Row(
                id=values["id"].as_py(),
                caption=values["caption"].as_py(),
                text_LD=_tensor(values, TEXT, "LD"),
                latent_CTHW=_tensor(values, LATENT, "CTHW") if self.latents else None,
            )
        except DataError as error:
            raise DataError(f"{file.path}, row {row}: {error}") from error

    def captions(self, count: int) -> tuple[str, ...]:
        """The first ``count`` distinct captions, or as many as there are."""
        found: dict[str, None] = {}
        for file in self.files:
            for caption in read_columns(file, ["caption"]).column("caption"):
                if len(found) >= count:
                    return tuple(found)
                found[caption.as_py()] = None
        return tuple(found)

    def fingerprint(self) -> str:
        """A hash of the files' names, sizes and rows: another one means other data, or the same in another order."""
        parts = [f"{file.name}\0{file.bytes}\0{file.group_ends}" for file in self.files]
        return blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()

    def summary(self) -> DatasetSummary:
        """Count the stored shapes. Raises DataError for a null, or a shape of the wrong number of dimensions."""
        latent_shapes: Counter[tuple[int, ...]] = Counter()
        text_shapes: Counter[tuple[int, ...]] = Counter()
        for file in self.files:
            clips = set(LATENT_COLUMNS) <= set(file.columns)
            table = read_columns(file, [f"{name}_shape" for name in ((TEXT, LATENT) if clips else (TEXT,))])
            text_shapes += _shapes(file, table, TEXT, "LD")
            if clips:
                latent_shapes += _shapes(file, table, LATENT, "CTHW")
        return DatasetSummary(
            path=self.path,
            rows=len(self),
            has_latents=self.latents,
            latent_shapes=latent_shapes,
            text_widths=tuple(sorted({width for _, width in text_shapes})),
            max_text_length=max(length for length, _ in text_shapes),
        )


def open_dataset(path: str | Path, latents: bool) -> ParquetDataset:
    """The data set in a folder of parquet files, or in one file.

    With ``latents`` every file must have the T2V columns; without, either schema will do and stored latents are not
    read. Raises DataError for a path, a file or columns that cannot be trained on.
    """
    path = Path(path)
    files = find_parquet(path)
    for file in files:
        check_columns(str(file.path), file.columns, latents)
    if not any(file.rows for file in files):
        raise DataError(f"{path} holds 0 rows; `distill data encode` makes them from videos or captions")
    return ParquetDataset(path, files, latents)


def _tensor(values: Mapping[str, pa.Scalar], name: str, dimensions: str) -> Tensor:
    """The tensor ``name`` of a row."""
    shape, dtype = values[f"{name}_shape"].as_py(), values[f"{name}_dtype"].as_py()
    try:
        return tensor_of(values[f"{name}_bytes"].as_buffer(), shape, dtype, dimensions)
    except DataError as error:
        raise DataError(f"{name} {error}") from error


def _shapes(file: ParquetFacts, table: pa.Table, name: str, dimensions: str) -> Counter[tuple[int, ...]]:
    """How many rows of the file have each shape of the tensor ``name``."""
    shapes = [tuple(shape) for shape in table.column(f"{name}_shape").to_pylist()]
    for row, shape in enumerate(shapes):
        if len(shape) != len(dimensions):
            raise DataError(
                f"{file.path}, row {row}: {name} has the shape {list(shape)}; "
                f"{len(dimensions)} sizes are due, [{', '.join(dimensions)}]"
            )
    return Counter(shapes)
