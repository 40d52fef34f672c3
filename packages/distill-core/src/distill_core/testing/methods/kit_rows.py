"""The data of the kit: a few rows of fixed numbers, with every column that a method declares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_core.data.reading.tensors import DTYPES
from distill_core.plugins.columns import LATENT_DIMENSIONS, Column
from distill_core.protocols.data import Row
from distill_core.testing.toy import encode_caption
from distill_core.testing.toy_parts import LATENT_SHAPE

ROWS = 6
FREE = 5
"""The size of a column's dimension that may be of any size."""


class KitRows:
    """A data set of a few clips, or captions."""

    def __init__(self, *, latents: bool, columns: Sequence[Column]) -> None:
        generator = torch.Generator().manual_seed(1)
        frames, channels, height, width = LATENT_SHAPE
        drawn = torch.randn(ROWS, channels, frames, height, width, generator=generator) * 2.0 + 0.5
        captions = [f"{'ab'[index % 2] * (index + 1)} caption" for index in range(ROWS)]
        self.rows = tuple(
            Row(
                f"row {index}",
                caption,
                encode_caption(caption),
                drawn[index] if latents else None,
                16.0,
                {column.name: _tensor(column, generator) for column in columns},
            )
            for index, caption in enumerate(captions)
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def fingerprint(self) -> str:
        """It never changes."""
        return "kit"


def _tensor(column: Column, generator: torch.Generator) -> Tensor:
    """Normal numbers that the column may hold."""
    frames, channels, height, width = LATENT_SHAPE
    sizes = dict(zip(LATENT_DIMENSIONS, (channels, frames, height, width), strict=True))
    shape = [each if isinstance(each, int) else sizes.get(each, FREE) for each in column.dimensions]
    return torch.randn(shape, generator=generator).to(DTYPES[column.dtypes[0]])
