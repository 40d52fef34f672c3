"""From what is drawn for each block to what holds for each of its frames. B batch, b blocks, T latent frames."""

from __future__ import annotations

from torch import Tensor


def block_count(frames: int, block: int) -> int:
    """Blocks of so many latent frames; the last may have fewer."""
    return -(-frames // block)


def of_frames(values_Bb: Tensor, frames: int, block: int) -> Tensor:
    """A value of each block as that of its frames, [B, T]."""
    return values_Bb.repeat_interleave(block, dim=1)[:, :frames]
