"""What has been encoded before, found by content: the rows of a folder of data by their keys.

Reads every column but tensors when it is opened, and tensors when they are asked for. Files without keys are passed over.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from distill_core.data.encoding.report import Fate
from distill_core.data.encoding.writer import open_writer
from distill_core.data.reading.columns import LATENT, TEXT
from distill_core.data.reading.files import ParquetFacts, open_parquet, read_columns, read_facts
from distill_core.data.reading.rows import RowReader
from distill_core.data.reading.tensors import tensor_of
from distill_core.errors import DataError

LATENT_KEY, TEXT_KEY = "latent_key", "text_key"
CAPTION_CHANGE = "caption"
"""How a change that was made to a caption begins; all others were made to the clip."""


@dataclass(frozen=True)
class ClipOrigin:
    """What a clip was before it was encoded: the columns of these names."""

    width: int
    height: int
    num_frames: int
    fps: float
    start_sec: float
    changes: tuple[str, ...]


@dataclass(frozen=True)
class StoredClip:
    """One row: where it lies, and its columns but for the tensors' bytes, as Arrow gives them."""

    file: ParquetFacts
    row: int
    columns: Mapping[str, Any]

    def fate(self) -> Fate:
        """What the report says of it."""
        columns = self.columns
        return Fate(
            name=columns["id"],
            encoded=True,
            changes=tuple(columns.get("changes", ())),
            pixels=tuple(columns[name] for name in ("num_frames", "height", "width") if name in columns),
            latent=tuple(columns.get(f"{LATENT}_shape", ())),
            text=tuple(columns[f"{TEXT}_shape"]),
            latent_key=columns.get(LATENT_KEY, ""),
            text_key=columns[TEXT_KEY],
            kept=True,
        )

    def unchanged(self) -> ClipOrigin:
        """What a row with the same clip under another name or caption takes over."""
        columns = self.columns
        return ClipOrigin(
            columns["width"],
            columns["height"],
            columns["num_frames"],
            columns["fps"],
            columns["start_sec"],
            tuple(change for change in columns["changes"] if not change.startswith(CAPTION_CHANGE)),
        )


class Store:
    """The rows of a folder, by key."""

    def __init__(self, folder: Path, schema_names: Collection[str]) -> None:
        self._reader = RowReader(list(schema_names))
        self._by_latent: defaultdict[str, dict[str, list[StoredClip]]] = defaultdict(dict)
        self._by_text: dict[str, StoredClip] = {}
        self._by_id: dict[tuple[str, str], StoredClip] = {}
        for path in sorted(folder.glob("*.parquet")):
            facts = read_facts(path, folder)
            if set(schema_names) <= set(facts.columns):
                self._add(facts)

    def _add(self, facts: ParquetFacts) -> None:
        """Index the rows of one file."""
        names = [name for name in facts.columns if not name.endswith("_bytes")]
        for row, columns in enumerate(read_columns(facts, names).to_pylist()):
            clip = StoredClip(facts, row, columns)
            self._by_text.setdefault(columns[TEXT_KEY], clip)
            self._by_id[columns["id"], columns[TEXT_KEY]] = clip
            if LATENT_KEY in columns:
                self._by_latent[columns[LATENT_KEY]].setdefault(columns["file_name"], []).append(clip)

    def clips(self, latent_key: str, file_name: str) -> tuple[StoredClip, ...]:
        """The clips of a video: those under its own name, or those of a video with the same content."""
        videos = self._by_latent.get(latent_key, {})
        return tuple(videos.get(file_name, next(iter(videos.values()), ())))

    def caption(self, row_id: str, text_key: str) -> StoredClip | None:
        """The row of text-only data with this id and this caption."""
        return self._by_id.get((row_id, text_key))

    def latent(self, clip: StoredClip) -> Tensor | None:
        """The latent of a row; None if it is damaged."""
        return self._tensor(clip, LATENT, "CTHW")

    def text(self, text_key: str) -> Tensor | None:
        """An encoded caption; None if there is none, or it is damaged."""
        clip = self._by_text.get(text_key)
        return None if clip is None else self._tensor(clip, TEXT, "LD")

    def _tensor(self, clip: StoredClip, name: str, dimensions: str) -> Tensor | None:
        """A tensor of a row; None if it is damaged."""
        try:
            values = self._reader.read_row(clip.file, clip.row).values
            data, shape, dtype = (values[f"{name}_{part}"] for part in ("bytes", "shape", "dtype"))
            return tensor_of(data, shape, dtype, dimensions)
        except DataError:
            return None


def source_names(path: Path) -> set[str]:
    """What the rows of a file were made from: the names of videos, or the ids of captions."""
    with open_parquet(path) as file:
        name = "file_name" if "file_name" in file.schema_arrow.names else "id"
        return set(file.read([name], use_threads=False).column(name).to_pylist())


def keep_rows(path: Path, wanted: set[tuple[str, str, str]]) -> None:
    """Rewrite a file without the rows that are not wanted; remove it if none is. What is kept is taken out of ``wanted``."""
    with open_parquet(path) as file:
        keys = _identities(file)
        keep = []
        for identity in keys:
            keep.append(identity in wanted)
            wanted.discard(identity)
        if all(keep):
            return
        if any(keep):
            _rewrite(file, path, keep)
            return
    path.unlink()


def _identities(file: pq.ParquetFile) -> Iterator[tuple[str, str, str]]:
    """What each row is known by, as :attr:`distill_core.data.encoding.report.Fate.identity` has it."""
    names = [name for name in ("id", LATENT_KEY, TEXT_KEY) if name in file.schema_arrow.names]
    for columns in file.read(names, use_threads=False).to_pylist():
        yield columns["id"], columns.get(LATENT_KEY, ""), columns.get(TEXT_KEY, "")


def _rewrite(file: pq.ParquetFile, path: Path, keep: list[bool]) -> None:
    """The rows to keep, in their row groups."""
    beside = path.with_name(f".{path.name}.tmp")
    with open_writer(beside, file.schema_arrow) as writer:
        start = 0
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, use_threads=False)
            kept = table.filter(pa.array(keep[start : start + len(table)]))
            if len(kept):
                writer.write_table(kept)
            start += len(table)
    os.replace(beside, path)
