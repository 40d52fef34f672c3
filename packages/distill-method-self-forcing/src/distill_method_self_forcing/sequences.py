"""The sequences that a run goes on with: buffers of a role, and so in every checkpoint. B batch, C channels, H W rows and columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from distill_core.errors import DataError
from distill_core.plugins import ModelFacts, RunSize
from distill_core.protocols import RowKey
from distill_method_self_forcing.config import LongTuningOptions

CAPTION_BYTES = 8192
"""Room for a caption, in UTF-8."""


class Sequences(nn.Module):
    """One sequence for each place in the batch: the frames made so far, and what they show.

    Keys and values are not kept: they are those of older weights, of a type that only the family knows, and gigabytes.

    Attributes:
        latents: float32 [B, frames, C, H, W]. Of captions there is a buffer for each place, uint8, closed by a 0.
    """

    latents: Tensor

    def __init__(self, facts: Mapping[str, ModelFacts], options: LongTuningOptions, size: RunSize) -> None:
        super().__init__()
        _, *rest = size.latent_shape
        self.register_buffer("latents", torch.zeros(size.batch_size, options.max_frames, *rest))
        for place in range(size.batch_size):
            self.register_buffer(f"caption_{place}", torch.zeros(CAPTION_BYTES + 1, dtype=torch.uint8))

    @torch.no_grad()
    def begin(self, rows: Sequence[RowKey]) -> None:
        """New sequences, of these rows' captions. Raises DataError for a caption that is too long to be kept."""
        for place, row in enumerate(rows):
            text, kept = row.caption.encode(), self._caption(place)
            if len(text) > CAPTION_BYTES:
                raise DataError(
                    f"the caption of row {row.id} has {len(text)} bytes; sequences keep {CAPTION_BYTES}: shorten it"
                )
            kept.zero_()
            kept[: len(text)] = torch.tensor(list(text), dtype=torch.uint8)

    def texts(self) -> tuple[str, ...]:
        """What each sequence shows."""
        places = range(len(self.latents))
        return tuple(bytes(self._caption(place).tolist()).partition(b"\0")[0].decode() for place in places)

    def _caption(self, place: int) -> Tensor:
        return self.get_buffer(f"caption_{place}")

    @torch.no_grad()
    def keep(self, latents_BTCHW: Tensor, start: int) -> None:
        """The frames from ``start`` on."""
        self.latents[:, start : start + latents_BTCHW.shape[1]] = latents_BTCHW.detach()

    def frames(self, start: int, stop: int) -> Tensor:
        """Frames that were made, a copy."""
        return self.latents[:, start:stop].clone()
