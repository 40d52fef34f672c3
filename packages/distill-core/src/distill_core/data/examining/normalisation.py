"""Latents that look as if they were normalised already. Training normalises raw latents itself: twice is once too often."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.dataset import ParquetDataset
from distill_core.plugins.specs import LatentSpace

ROWS_LOOKED_AT = 8
BYTES_LOOKED_AT = 256 << 20
"""What a look may read of the files before it makes do with the rows that it has."""
NEAR = 0.25
"""So near to mean 0 and standard deviation 1 are normalised latents of a few clips."""
NEARER = 4.0
"""So many times as near as to the mean and the deviation of the model's raw latents."""


class ChannelMoments:
    """The mean and the standard deviation of each channel of some latents."""

    def __init__(self) -> None:
        self._values = 0
        self._sum: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, latent_CTHW: Tensor) -> None:
        """Count a latent in. One of another number of channels than the first is left out."""
        flat_CN = latent_CTHW.flatten(1).double()
        total_C, squares_C = flat_CN.sum(1), flat_CN.pow(2).sum(1)
        if self._sum is None or self._squares is None:
            self._sum, self._squares = torch.zeros_like(total_C), torch.zeros_like(total_C)
        if total_C.shape == self._sum.shape:
            self._values += flat_CN.shape[1]
            self._sum += total_C
            self._squares += squares_C

    def distance(self, mean: tuple[float, ...], std: tuple[float, ...]) -> float:
        """How far the latents are from such means and deviations; infinite where one channel is constant, or channels are others."""
        if self._sum is None or self._squares is None or len(mean) != len(self._sum):
            return float("inf")
        mean_C, std_C = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
        found_C = self._sum / self._values
        variance_C = self._squares / self._values - found_C.pow(2)
        if bool((variance_C <= 0).any()):
            return float("inf")
        shift_C, scale_C = (found_C - mean_C) / std_C, (variance_C.sqrt() / std_C).log()
        return float((shift_C.pow(2) + scale_C.pow(2)).mean())

    def look_normalised(self, space: LatentSpace) -> bool:
        """Whether they are near to normalised latents, and much nearer than to raw ones of the space."""
        channels = space.channels
        normalised = self.distance((0.0,) * channels, (1.0,) * channels)
        return normalised < NEAR and normalised * NEARER < self.distance(space.mean, space.std)


def normalised_note(moments: ChannelMoments, space: LatentSpace, path: object) -> str | None:
    """What is to be said of latents that look normalised, or None."""
    if not moments.look_normalised(space):
        return None
    return (
        f"the latents of {path} look normalised already, with a mean of about 0 and a deviation of about 1 in each channel, which the "
        "model's raw latents have not; training normalises them again, so store them as the encoder gives them"
    )


def look_at_some(dataset: ParquetDataset, *, skip_bad: bool) -> ChannelMoments:
    """The moments of a few rows all over a data set, which are read for it. Raises BadRowError for a bad one, unless those are skipped."""
    moments = ChannelMoments()
    for index in _spread(dataset):
        try:
            row = dataset[index]
        except BadRowError:
            if not skip_bad:
                raise
            continue
        if row.latent_CTHW is not None:
            moments.add(row.latent_CTHW)
    return moments


def _spread(dataset: ParquetDataset) -> Iterator[int]:
    """Rows all over a data set, as many as can be read at some cost: a row costs its whole row group."""
    spent, before = 0, None
    for place in range(min(len(dataset), ROWS_LOOKED_AT)):
        index = place * len(dataset) // min(len(dataset), ROWS_LOOKED_AT)
        file, row = dataset.locate(index)
        group = next(number for number, end in enumerate(file.group_ends) if row < end)
        cost = 0 if (file.path, group) == before else file.size * len(file.group_rows(group)) // file.rows
        if spent and spent + cost > BYTES_LOOKED_AT:
            return
        spent, before = spent + cost, (file.path, group)
        yield index
