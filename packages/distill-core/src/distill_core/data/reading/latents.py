"""From the raw latents of rows to the normalised latents of a batch: arithmetic that is the same for every family."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_core.errors import DataError
from distill_core.plugins.specs import LatentSpace
from distill_core.protocols.data import Row
from distill_core.transfer import to_device

LatentShape = tuple[int, int, int, int]


class Normalizer:
    """(z - mean) / std per channel of a latent space, on a device."""

    def __init__(self, space: LatentSpace, device: torch.device) -> None:
        self._device = device
        statistics = torch.tensor([space.mean, space.std], device=device)
        self._mean_C11, self._std_C11 = statistics.view(2, -1, 1, 1)

    def __call__(self, rows: Sequence[Row], latent_shape: LatentShape) -> Tensor | None:
        """The latents of rows as [B, T, C, H, W], float32; None if all rows are captions alone. Longer ones keep their first T frames.

        Raises DataError for rows of another shape, and for a batch of which only some have a latent.
        """
        latents_CTHW = [row.latent_CTHW for row in rows if row.latent_CTHW is not None]
        if not latents_CTHW:
            return None
        if len(latents_CTHW) < len(rows):
            bare = next(row.id for row in rows if row.latent_CTHW is None)
            raise DataError(f"row {bare} has no latent and others of its batch have one; use data sets of one kind")
        return self.column(rows, latents_CTHW, latent_shape)

    def column(self, rows: Sequence[Row], raw_CTHW: Sequence[Tensor], latent_shape: LatentShape) -> Tensor:
        """Raw latents, one of each row, as [B, T, C, H, W]. Raises DataError for those of another shape."""
        frames = [_cut(row.id, latent, latent_shape) for row, latent in zip(rows, raw_CTHW, strict=True)]
        raw_BCTHW = to_device(torch.stack(frames), self._device)
        normalised_BTCHW: Tensor = (raw_BCTHW.float().transpose(1, 2) - self._mean_C11) / self._std_C11
        return normalised_BTCHW


def _cut(row_id: str, latent_CTHW: Tensor, latent_shape: LatentShape) -> Tensor:
    """The first T frames of a raw latent. Raises DataError if it is no [C, >= T, H, W]."""
    frames, channels, height, width = latent_shape
    if latent_CTHW.ndim != 4 or latent_CTHW.shape[0] != channels or tuple(latent_CTHW.shape[2:]) != (height, width):
        expected = f"[{channels}, {frames} or more, {height}, {width}]"
        raise DataError(f"row {row_id}: its latent has the shape {list(latent_CTHW.shape)}, this run needs {expected}")
    if latent_CTHW.shape[1] < frames:
        raise DataError(
            f"row {row_id}: its latent has {latent_CTHW.shape[1]} frames, this run needs {frames}; "
            f"set data.num_latent_t to the shortest clip's or leave the clip out"
        )
    return latent_CTHW[:, :frames]
