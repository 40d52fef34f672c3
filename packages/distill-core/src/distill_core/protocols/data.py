"""One row of a data set, between the reader (core) and ``prepare_batch`` (the family's adapter)."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    id: str
    caption: str
    text_LD: Tensor
    latent_CTHW: Tensor | None = None
