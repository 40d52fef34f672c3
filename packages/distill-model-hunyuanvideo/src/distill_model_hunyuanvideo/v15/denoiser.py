"""The forward pass of HunyuanVideo 1.5's transformer from text alone. B batch, C channels, T H W of latents, L tokens, D width.

diffusers' own puts 729 tokens of no picture before the text and masks them, and sorts the tokens of each caption by their masks: it reads
the masks on the host, at each step, and its tensors have shapes that depend on them. What is masked is attended by nobody and text has no
positions, so the velocity is the same without.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def from_text(
    denoiser: Any, noisy_BCTHW: Tensor, timestep_B: Tensor, text: tuple[Tensor, Tensor], glyphs: tuple[Tensor, Tensor]
) -> Tensor:
    """v, [B, C, T, H, W]; ``text`` and ``glyphs`` are tokens [B, L, D], each with what is no padding, bool [B, L].

    ``Any``: diffusers' models are untyped.
    """
    B, _, T, H, W = noisy_BCTHW.shape
    within = denoiser.config.patch_size_t, denoiser.config.patch_size, denoiser.config.patch_size
    (text_BLD, text_BL), (glyphs_BLD, glyphs_BL) = text, glyphs
    of_text_D, of_glyphs_D, _ = denoiser.cond_type_embed.weight
    positions, time_BD = denoiser.rope(noisy_BCTHW), denoiser.time_embed(timestep_B)
    told_BLD = torch.cat(
        [
            denoiser.context_embedder_2(glyphs_BLD.to(of_glyphs_D.dtype)) + of_glyphs_D,
            denoiser.context_embedder(text_BLD, timestep_B, text_BL) + of_text_D,
        ],
        dim=1,
    )
    own_BL, seen_BLD = torch.cat([glyphs_BL, text_BL], dim=1), denoiser.x_embedder(noisy_BCTHW)
    for block in denoiser.transformer_blocks:
        inputs = seen_BLD, told_BLD, time_BD, own_BL, positions
        if denoiser.gradient_checkpointing and torch.is_grad_enabled():
            seen_BLD, told_BLD = denoiser._gradient_checkpointing_func(block, *inputs)
        else:
            seen_BLD, told_BLD = block(*inputs)
    velocity = denoiser.proj_out(denoiser.norm_out(seen_BLD, time_BD))
    grid = [size // patch for size, patch in zip((T, H, W), within, strict=True)]
    parts = velocity.reshape(B, *grid, -1, *within).permute(0, 4, 1, 5, 2, 6, 3, 7)
    velocity_BCTHW: Tensor = parts.reshape(B, -1, T, H, W)
    return velocity_BCTHW
