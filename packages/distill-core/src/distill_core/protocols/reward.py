"""How clips are rewarded while a method trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Reward(Protocol):
    """Built as ``Class(options)``, with an instance of the spec's options. One with weights is a ``torch.nn.Module``: it is moved to the
    run's device, is frozen, and is in no checkpoint."""

    def check(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int]) -> None:
        """Called before training with every caption of the data. Raises DistillError if clips of them, or of that many pixels, cannot be
        measured."""
        ...

    def score(self, pixels_BFCHW: Tensor, captions: Sequence[str]) -> Tensor:
        """The reward of each clip, float32 [B], the higher the better, by itself alone; of frames [B, F, 3, H, W] about [0, 1]: decoders
        overshoot. With the graph where the spec says "differentiable"."""
        ...
