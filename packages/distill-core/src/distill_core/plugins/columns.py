"""What a run's data must hold besides latents and captions: the columns that a family's conditions, or a method, need.

A column is a tensor of each row, stored as three columns of parquet, ``<name>_bytes``, ``<name>_shape`` and ``<name>_dtype``. Imports no
torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FLOATS = ("float32", "float16", "bfloat16", "float64")
"""The dtypes that a tensor of numbers may be stored in."""

RESERVED = ("vae_latent", "text_embedding")
"""The tensors that every data set may hold; no column is called like them."""

LATENT_DIMENSIONS = ("C", "T", "H", "W")
"""Those of a raw latent, as it is stored."""


@dataclass(frozen=True)
class Column:
    """One tensor of each row.

    Attributes:
        name: what it is called in the data and in ``Batch.tensors``.
        dimensions: a letter or a size for each dimension; () where they are not known. The letters C, T, H and W are those of the row's
            latent [C, T, H, W]: they must agree with it, and T is cut as the latent's is. Any other letter may be of any size, the same
            in all rows of a batch.
        meaning: what it holds, in a few words, for a person whose data lack it.
        made_by: the command that makes it.
        dtypes: the dtypes that it may be stored in.
        made_with: what its numbers follow from besides the row (steps, guidance), as JSON has it, where the method makes it itself
            (``Demands.makers``). Recorded in the data, with the run's flow shift; data that were made otherwise are refused.
        latent: whether it is a raw latent of the run's latent space, with the dimensions (C, T, H, W): it is handed out normalised, as
            [B, T, C, H, W], as clean latents are.
        of_caption: whether it follows from the caption alone: data of captions alone hold it too.
    """

    name: str
    dimensions: tuple[str | int, ...]
    meaning: str
    made_by: str
    dtypes: tuple[str, ...] = FLOATS
    latent: bool = False
    of_caption: bool = False
    made_with: Mapping[str, object] | None = field(default=None, hash=False)

    @property
    def stored(self) -> tuple[str, str, str]:
        """The names of its three columns."""
        return f"{self.name}_bytes", f"{self.name}_shape", f"{self.name}_dtype"

    @property
    def described(self) -> str:
        """For a person: its name, its dimensions, and what it holds."""
        return f"{self.name} [{', '.join(map(str, self.dimensions))}] ({self.meaning})"

    def fault(self) -> str | None:
        """What is wrong with the declaration itself, or None."""
        if not self.name.isidentifier():
            return f"{self.name!r} is no name of a column: use letters, digits and '_'"
        if self.name in RESERVED:
            return f"column {self.name!r} is in every data set; call yours something else"
        if self.latent and self.dimensions != LATENT_DIMENSIONS:
            return f"column {self.name!r} is a raw latent, so its dimensions are {LATENT_DIMENSIONS}"
        return None

    def misshape(self, shape: Sequence[int], latent_CTHW: Sequence[int] | None) -> str | None:
        """Why a stored tensor of this shape is not the column, or None if it is."""
        if not self.dimensions:
            return None
        due = ", ".join(map(str, self.dimensions))
        if len(shape) != len(self.dimensions):
            return f"has the shape {list(shape)}; [{due}] is due"
        sizes = {} if latent_CTHW is None else dict(zip(LATENT_DIMENSIONS, latent_CTHW, strict=True))
        for size, dimension in zip(shape, self.dimensions, strict=True):
            wanted = dimension if isinstance(dimension, int) else sizes.get(dimension, size)
            if size != wanted:
                return f"has the shape {list(shape)}; [{due}] is due, with {dimension} = {wanted}"
        return None
