"""AutoencoderKL, the VAE of many families of pictures: its config.json, with diffusers' defaults, and the space of its latents.

Imports no torch."""

from __future__ import annotations

from distill_core.plugins import LatentSpace
from distill_diffusers.facts import evenly_scaled
from distill_diffusers.json_files import Json


class PictureVaeConfig(Json):
    """config.json of an AutoencoderKL."""

    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (64,)
    scaling_factor: float = 0.18215
    shift_factor: float | None = None

    @property
    def latent_space(self) -> LatentSpace:
        """What its latents mean."""
        shift = 0.0 if self.shift_factor is None else self.shift_factor
        stride = 2 ** (len(self.block_out_channels) - 1)
        return evenly_scaled(self.latent_channels, 1, stride, scaling_factor=self.scaling_factor, shift_factor=shift)
