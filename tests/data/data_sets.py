"""What the tests of this folder share: records, folders of them, a model's facts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.columns import T2V_SCHEMA, TEXT_ONLY_SCHEMA, CaptionRecord, ClipRecord
from distill_core.plugins import LatentSpace, ModelFacts
from distill_core.protocols import Row

SPACE = LatentSpace(channels=3, temporal_stride=4, spatial_stride=8, mean=(0.0,) * 3, std=(1.0,) * 3)
FACTS = ModelFacts(
    path=Path("model"),
    summary="a tiny model",
    latent_space=SPACE,
    text_width=5,
    text_length=16,
    patch=(1, 2, 2),
    max_positions=(8, 8, 8),
)


@dataclass(frozen=True)
class Numbers:
    """A data set whose row i has the id "i"; those of ``bad`` are malformed."""

    count: int
    bad: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Row:
        if index in self.bad:
            raise BadRowError(Path("a.parquet"), index, "id is null")
        return Row(id=str(index), caption="", text_LD=torch.full((1, 1), float(index)))

    def fingerprint(self) -> str:
        return f"{self.count} numbers"


def clip(
    number: int, shape: tuple[int, ...] = (3, 2, 4, 4), dtype: torch.dtype = torch.float32, tokens: int = 7
) -> ClipRecord:
    """A clip whose tensors follow from its number."""
    generator = torch.Generator().manual_seed(number)
    return ClipRecord(
        id=f"clip-{number}",
        caption=f"caption {number}",
        text_LD=torch.randn(tokens, 5, generator=generator).to(dtype),
        latent_CTHW=torch.randn(shape, generator=generator).to(dtype),
        file_name=f"clip-{number}.mp4",
        width=32,
        height=32,
        num_frames=5,
        fps=16.0,
    )


def caption(number: int) -> CaptionRecord:
    """A caption whose embedding follows from its number."""
    like = clip(number)
    return CaptionRecord(like.id, like.caption, like.text_LD)


def write_clips(folder: Path, records: Iterable[ClipRecord], rows_per_file: int = 1000) -> Path:
    """A T2V data set of these records."""
    with ParquetWriter(folder, T2V_SCHEMA, rows_per_file) as writer:
        for record in records:
            writer.add(record)
    return folder


def write_captions(folder: Path, records: Iterable[CaptionRecord]) -> Path:
    """A text-only data set of these records."""
    with ParquetWriter(folder, TEXT_ONLY_SCHEMA) as writer:
        for record in records:
            writer.add(record)
    return folder
