"""LoRA files of a family, as its ecosystem has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from distill_core.plugins.specs import ModelFacts
    from distill_core.protocols.validator import ValidationRequest


@dataclass(frozen=True)
class LowRankUpdate:
    """Δ W = scale · B A of one layer.

    Attributes:
        a: A [rank, inputs].
        b: B [outputs, rank].
        scale: alpha / rank.
    """

    a: Tensor
    b: Tensor
    scale: float


LoraUpdates = Mapping[str, LowRankUpdate]
"""A LoRA, by the layer's name within a role's modules, e.g. "transformer.blocks.0.attn1.to_q"."""


class LoraFiles(Protocol):
    """Reads and writes LoRA files for a family (``LoraSupport.files``)."""

    def read(self, path: Path, facts: ModelFacts, part: str | None = None) -> LoraUpdates:
        """A file, or the one of a folder, for the denoisers of a folder; on the CPU.

        ``part``: the denoiser that it is of, where a model has several and the file does not say; None is the first.

        Raises ModelFolderError for what is none, is damaged, or is of another kind than a low-rank update of linear layers.
        """
        ...

    def write(
        self,
        updates: LoraUpdates,
        base: ModelFacts,
        sampling: ValidationRequest,
        latent_shape: tuple[int, int, int, int],
        output: Path,
        dtype: torch.dtype,
    ) -> None:
        """Make a folder with the file, its weights in ``dtype``, and what says how it is used and sampled."""
        ...
