"""The JSON files of a Wan pipeline folder, typed, with diffusers' own defaults where a file leaves a key out.

Decides nothing about what is supported (``folder.py`` does). Imports no torch.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from distill_core.plugins import LatentSpace
from distill_diffusers.json_files import Json, Repeats


class WanSettings(Json):
    """model_index.json, but for its parts."""

    boundary_ratio: float | None = None
    expand_timesteps: bool = False


class TransformerConfig(Json):
    """transformer/config.json."""

    class_name: str = Field(alias="_class_name")
    patch_size: tuple[int, int, int] = (1, 2, 2)
    num_attention_heads: int = 40
    attention_head_dim: int = 128
    in_channels: int = 16
    out_channels: int = 16
    text_dim: int = 4096
    freq_dim: int = 256
    ffn_dim: int = 13824
    num_layers: Repeats = 40
    cross_attn_norm: bool = True
    rope_max_seq_len: int = 1024
    image_dim: int | None = None
    added_kv_proj_dim: int | None = None
    pos_embed_seq_len: int | None = None


class ImageEncoderConfig(Json):
    """image_encoder/config.json, with transformers' own defaults."""

    hidden_size: int = 768
    image_size: int = 224
    patch_size: int = 32

    @property
    def tokens(self) -> int:
        """Of one picture: its patches, and one of the whole."""
        return (self.image_size // self.patch_size) ** 2 + 1


class VaeConfig(Json):
    """vae/config.json. The default statistics are those of Wan 2.1's VAE, which diffusers assumes too."""

    class_name: str = Field(alias="_class_name")
    z_dim: int = 16
    latents_mean: tuple[float, ...] = (
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    )  # fmt: skip
    latents_std: tuple[float, ...] = (
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    )  # fmt: skip
    scale_factor_temporal: int = 4
    scale_factor_spatial: int = 8
    base_dim: int = 96
    decoder_base_dim: int | None = None
    dim_mult: Annotated[tuple[int, ...], Field(min_length=1, max_length=16)] = (1, 2, 4, 4)
    num_res_blocks: Repeats = 2
    attn_scales: tuple[()] = ()
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    is_residual: bool = False
    in_channels: int = 3
    out_channels: int = 3

    @model_validator(mode="after")
    def _levels(self) -> VaeConfig:
        if len(self.temperal_downsample) < len(self.dim_mult) - 1:
            raise ValueError(f"temperal_downsample has too few values for dim_mult, which has {len(self.dim_mult)}")
        return self

    @property
    def latent_space(self) -> LatentSpace:
        """The space that this VAE encodes into."""
        return LatentSpace(
            channels=self.z_dim,
            temporal_stride=self.scale_factor_temporal,
            spatial_stride=self.scale_factor_spatial,
            mean=self.latents_mean,
            std=self.latents_std,
        )
