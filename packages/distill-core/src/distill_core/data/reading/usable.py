"""Which parquet files can be trained on, by their columns: those that are due, each once, and of a type that holds what is due.

Every library writes the same thing in types of its own, and those are all read. A type that holds something else is refused, for every row
at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.columns import CAPTION_COLUMNS, LATENT_COLUMNS, T2V_SCHEMA
from distill_core.data.reading.files import ParquetFacts
from distill_core.errors import DataError
from distill_core.plugins.columns import Column

BYTES, TEXT, ID, SHAPE = "bytes", "text", "text or a whole number", "a list of whole numbers"
REMEDY = "`distill data encode` makes data that can be trained on"


def check_declared(facts: ParquetFacts, columns: Sequence[Column]) -> None:
    """Raise DataError if a file lacks a column that the run's family or method declares; BadRowError if one is of another type."""
    if not facts.rows:
        return
    lacking = [column for column in columns if not set(column.stored) <= set(facts.columns)]
    if lacking:
        wanted = "; ".join(f"{column.described}: {column.made_by}" for column in lacking)
        raise DataError(f"{facts.path} lacks what this run needs of each row: {wanted}")
    for column in columns:
        for name, due, fits in zip(column.stored, (BYTES, SHAPE, TEXT), (_is_bytes, _is_shape, _is_text), strict=True):
            kind = facts.schema.field(name).type
            if not fits(_stored(kind)):
                raise BadRowError(
                    facts.path, 0, f"{name} is {kind}, in every row; {due} {'are' if due == BYTES else 'is'} due"
                )


def check_columns(facts: ParquetFacts, latents: bool) -> None:
    """Raise DataError if a file cannot be trained on, with its latents or without; BadRowError where that is so for every row of it.

    A file without rows is none of that: some libraries write it without types, or without columns.
    """
    if not facts.rows:
        return
    _check_presence(facts, latents)
    for name, count in Counter(facts.columns).items():
        if count > 1 and name in T2V_SCHEMA.names:
            raise BadRowError(facts.path, 0, f"{count} columns are called {name}, in every row; drop all but one")
    for name in (*CAPTION_COLUMNS, *LATENT_COLUMNS):
        if name in facts.columns:
            kind, due = facts.schema.field(name).type, _due(name)
            if not _FITS[due](_stored(kind)):
                asked = f"{due} {'are' if due == BYTES else 'is'} due, such as {T2V_SCHEMA.field(name).type}"
                raise BadRowError(facts.path, 0, f"{name} is {kind}, in every row; {asked}")


def has_latents(facts: ParquetFacts) -> bool:
    """Whether a file has every column of a latent."""
    return set(LATENT_COLUMNS) <= set(facts.columns)


def _check_presence(facts: ParquetFacts, latents: bool) -> None:
    """Raise DataError for columns that are not there."""
    there = f"(there are: {', '.join(facts.columns)})"
    missing = [name for name in CAPTION_COLUMNS if name not in facts.columns]
    if missing:
        raise DataError(
            f"{facts.path} lacks {', '.join(missing)}, which both the T2V and the text-only schema have {there}; {REMEDY}"
        )
    missing = [name for name in LATENT_COLUMNS if name not in facts.columns] if latents else []
    if len(missing) == len(LATENT_COLUMNS):
        raise DataError(
            f"{facts.path} holds captions only (the text-only schema) and this run needs latents {there}; set data.path to a T2V "
            "data set, as `distill data encode` makes one from a folder of videos"
        )
    if missing:
        raise DataError(f"{facts.path} lacks {', '.join(missing)} of the T2V schema {there}; {REMEDY}")


def _due(column: str) -> str:
    """What a column is to hold."""
    if column.endswith("_bytes"):
        return BYTES
    if column.endswith("_shape"):
        return SHAPE
    return ID if column == "id" else TEXT


def _stored(kind: pa.DataType) -> pa.DataType:
    """The type of the values, however they are stored."""
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    return kind


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_shape(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists and pa.types.is_integer(kind.value_type))


_FITS: Mapping[str, Callable[[pa.DataType], bool]] = {
    BYTES: _is_bytes,
    TEXT: _is_text,
    ID: lambda kind: _is_text(kind) or bool(pa.types.is_integer(kind)),
    SHAPE: _is_shape,
}
