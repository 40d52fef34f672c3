"""Pixels to raw latents and back, through a folder's VAE, always in float32; loaded when first used.

C latent channels, T latent frames, F pixel frames, H W rows and columns (of latents or of pixels).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from distill_core.errors import DataError
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.loading import load_part

Encode = Callable[[Any, Tensor], Tensor]
"""(vae, pixels [1, 3, F, H, W] in [-1, 1]) to raw latents [1, C, T, H, W]. ``Any``: VAEs have no common type."""
Decode = Callable[[Any, Tensor, torch.Generator | None], Tensor]
"""(vae, raw latents, what a VAE draws from that draws) to pixels."""


class VideoCodec:
    """A folder's VAE. ``encode`` and ``decode`` are how the family's pipeline calls it."""

    def __init__(self, facts: DiffusersFacts, encode: Encode, decode: Decode, device: torch.device) -> None:
        self.facts = facts
        self.device = device
        self._encode = encode
        self._decode = decode

    @cached_property
    def vae(self) -> Any:
        """The VAE, on the device."""
        return load_part(self.facts, "vae", torch.float32).to(self.device).eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, frames_FHW3: Tensor) -> Tensor:
        """uint8 frames as a raw latent, float32 [C, T, H, W] on the CPU. Raises DataError for a size that does not fit."""
        self.refuse_misfit(*frames_FHW3.shape[:3])
        pixels_3FHW = frames_FHW3.to(self.device).permute(3, 0, 1, 2).float() / 255.0 * 2.0 - 1.0
        return self._encode(self.vae, pixels_3FHW[None])[0].cpu()

    @torch.no_grad()
    def encode_pixels(self, pixels_B3FHW: Tensor) -> Tensor:
        """Pixels in [-1, 1] as raw latents, float32 [B, C, T, H, W] on the CPU."""
        return self._encode(self.vae, pixels_B3FHW.to(self.device)).cpu()

    @torch.no_grad()
    def decode(self, raw_CTHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A raw latent as uint8 frames [F, H, W, 3] on the device; a VAE that draws does from ``generator``, or the same each time."""
        pixels_13FHW = self._decode(self.vae, raw_CTHW[None].to(self.device), generator)
        frames_3FHW = (pixels_13FHW[0] / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0
        return frames_3FHW.round().to(torch.uint8).permute(1, 2, 3, 0)

    def refuse_misfit(self, frames: int, height: int, width: int) -> None:
        """Raise DataError for a video's size that makes no whole latent, naming the nearest that does."""
        space, (_, vertical, horizontal) = self.facts.latent_space, self.facts.patch
        if space.latent_frames(frames) is None:
            raise DataError(
                f"{frames} frames are not 1 + a multiple of {space.temporal_stride}; cut the clip to {space.whole_frames(frames)}"
            )
        for name, size, patch in (("height", height, vertical), ("width", width, horizontal)):
            multiple = space.spatial_stride * patch
            if size % multiple:
                raise DataError(
                    f"{name} {size} is not a multiple of {multiple}; scale or crop it to {size // multiple * multiple}"
                )
