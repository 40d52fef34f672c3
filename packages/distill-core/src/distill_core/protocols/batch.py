"""One micro-batch as methods see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distill_core.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from distill_core.protocols.condition import Condition
    from distill_core.protocols.role import Role


@dataclass(frozen=True)
class RowKey:
    """Which row of the data a sample is.

    Attributes:
        id: the data set's own name for it.
        caption: its text.
        fps: frames per second of the clip, where the data say.
    """

    id: str
    caption: str
    fps: float | None = None


@dataclass(frozen=True)
class Batch:
    """One micro-batch.

    Attributes:
        rows: which rows its samples are; B of them.
        conditions: what predictions are conditioned on, for each model family of the run; ask :meth:`condition_of`.
        latent_shape: [T, C, H, W] of one sample, known even where there are no clean latents.
        clean_latents: normalised latents [B, T, C, H, W], or None when the data are captions alone.
        tensors: the columns that the method declared (``Demands.columns``), stacked, by name.
    """

    rows: tuple[RowKey, ...]
    conditions: Mapping[str, Condition]
    latent_shape: tuple[int, int, int, int]
    clean_latents: Tensor | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The batch size B."""
        return len(self.rows)

    @property
    def latents(self) -> Tensor:
        """The clean latents [B, T, C, H, W]. Raises DataError when the data are captions alone."""
        if self.clean_latents is None:
            raise DataError(
                "the data hold captions only and this method needs latents; set data.path to a data set that has them"
            )
        return self.clean_latents

    def condition_of(self, role: Role) -> Condition:
        """What predictions of ``role`` are conditioned on: the samples' captions, as the role's family takes them."""
        return self.conditions[role.family]
