"""The causal video VAE of Wan 2.1 as other families took it over: its config.json, and the space of its latents. Imports no torch."""

from __future__ import annotations

from distill_core.plugins import LatentSpace
from distill_diffusers.json_files import Json


class CausalVaeConfig(Json):
    """config.json of an AutoencoderKLWan or AutoencoderKLQwenImage. Of the statistics, the folder's own are asked for."""

    z_dim: int = 16
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    latents_mean: tuple[float, ...]
    latents_std: tuple[float, ...]

    @property
    def latent_space(self) -> LatentSpace:
        """What its latents mean."""
        temporal, spatial = 2 ** sum(self.temperal_downsample), 2 ** len(self.temperal_downsample)
        return LatentSpace(self.z_dim, temporal, spatial, self.latents_mean, self.latents_std)
