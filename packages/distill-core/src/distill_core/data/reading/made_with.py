"""What a method's columns were made with, as files record it beside their schema; data that were made otherwise are refused.

A column that a model made (:attr:`distill_core.plugins.columns.Column.made_with`) looks the same whatever its steps and guidance were.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic import TypeAdapter, ValidationError

from distill_core.data.reading.files import ParquetFacts
from distill_core.errors import DataError
from distill_core.plugins.columns import Column

METADATA_KEY = b"distill.columns"
LATENT_SHAPE = "latent_shape"
"""The key under which columns of captions alone record the [T, C, H, W] that they were made at; no option of a method's."""
Recorded = Mapping[str, Mapping[str, object]]
"""What each column was made with, by its name."""

_RECORDED = TypeAdapter(dict[str, dict[str, object]])


def as_metadata(columns: Sequence[Column]) -> dict[bytes, bytes]:
    """What made columns were made with, as metadata of a parquet schema."""
    made = {column.name: dict(column.made_with) for column in columns if column.made_with is not None}
    return {METADATA_KEY: json.dumps(made, ensure_ascii=False).encode()}


def recorded(metadata: Mapping[bytes, bytes]) -> Recorded:
    """From the metadata of a parquet schema; empty if nothing is recorded, or something else under our name."""
    try:
        return _RECORDED.validate_json(metadata.get(METADATA_KEY, b"{}"))
    except ValidationError:
        return {}


def difference(asked: Mapping[str, object], found: Mapping[str, object]) -> str:
    """In what two ways of making a column differ, in words; "" if they do not."""
    wanted = json.loads(json.dumps(asked))
    extra = sorted(found.keys() - wanted.keys() - {LATENT_SHAPE})
    names = [name for name in (*wanted, *extra) if wanted.get(name) != found.get(name)]
    return "; ".join(f"{name} {found.get(name)}, not {wanted.get(name)}" for name in names)


def check_made_with(facts: ParquetFacts, columns: Sequence[Column]) -> None:
    """Raise DataError for a file whose columns were made otherwise than the run asks, or that does not record how."""
    found = recorded(facts.metadata) if facts.rows else {}
    for column in columns:
        if column.made_with is None or not facts.rows:
            continue
        if column.name not in found:
            raise DataError(
                f"{facts.path} does not record what its column {column.name} was made with, so nobody knows whether it is what this run "
                f"asks; make it anew: {column.made_by}"
            )
        if told := difference(column.made_with, found[column.name]):
            raise DataError(
                f"{facts.path}: column {column.name} was made otherwise than this run asks ({told}); say in the run.yaml what it was made "
                f"with (flow_shift in pipeline_config, the others in method_config), or make it anew: {column.made_by}"
            )


def check_made_shape(files: Sequence[ParquetFacts], columns: Sequence[Column], latent_shape: Sequence[int]) -> None:
    """Raise DataError for columns of captions alone that were made at another size than the run's [T, C, H, W]."""
    made = [column for column in columns if column.made_with is not None]
    for file in files:
        found = recorded(file.metadata)
        for column in made:
            shape = found.get(column.name, {}).get(LATENT_SHAPE)
            if shape is not None and shape != list(latent_shape):
                raise DataError(
                    f"{file.path}: column {column.name} was made for latents [T, C, H, W] = {shape}, and the run trains at "
                    f"{list(latent_shape)}; set data.num_frames, data.num_height and data.num_width to that size, or make it anew: "
                    f"{column.made_by}"
                )
