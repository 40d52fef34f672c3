"""A data set's place: a path of this disk, or a data set of the Hugging Face Hub, ``owner/name`` or ``owner/name@REVISION``."""

from __future__ import annotations

from pathlib import Path

from distill_core.config.data_sets import hub_data
from distill_core.errors import DataError
from distill_core.hub import snapshot

PATTERNS = ("*.parquet", "**/*.parquet")


def fetched(path: str) -> Path:
    """Where the data set that ``path`` means lies; one of the Hub is fetched first, its parquet files and nothing else.

    A path that can be no hub id is given back, whether something is there or not. Raises DataError for a hub id that cannot be had.
    """
    named = hub_data(path)
    if named is None:
        return Path(path)
    folder = snapshot(named.hub_id, PATTERNS, DataError, repo="dataset", revision=named.revision)
    if not any(folder.rglob("*.parquet")):
        raise DataError(
            f"{path} on the Hugging Face Hub holds no parquet file; a data set to train on has the columns of docs/data.md"
        )
    return folder
