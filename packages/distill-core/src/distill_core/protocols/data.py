"""One row of a data set, between the reader (core) and what a family's adapter makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Row:
    """One clip, or one caption alone, as it is stored.

    Attributes:
        id: the data set's own name for it.
        caption: the text itself.
        text_LD: the encoded caption, [L tokens, D features], without padding or with it, as stored.
        latent_CTHW: the raw latent as the encoder gave it, not normalised, or None for a caption alone.
        fps: frames per second of the clip, where the data say.
        tensors: further columns that the run's family or method declared, by name.
    """

    id: str
    caption: str
    text_LD: Tensor
    latent_CTHW: Tensor | None = None
    fps: float | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
