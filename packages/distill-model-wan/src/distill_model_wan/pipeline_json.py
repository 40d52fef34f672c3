"""The JSON files of a Wan pipeline folder, typed, with diffusers' own defaults where a file leaves a key out.

Decides nothing about what is supported (``folder.py`` does). Imports no torch.
"""

from pydantic import Field

from distill_core.plugins import LatentSpace
from distill_diffusers.causal_vae import CausalVaeConfig
from distill_diffusers.denoiser_config import DenoiserConfig
from distill_diffusers.json_files import Json, Repeats


class WanSettings(Json):
    """model_index.json, but for its parts."""

    boundary_ratio: float | None = None
    expand_timesteps: bool = False


class TransformerConfig(DenoiserConfig):
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


class VaeConfig(CausalVaeConfig):
    """vae/config.json."""

    scale_factor_temporal: int = 4
    scale_factor_spatial: int = 8

    @property
    def latent_space(self) -> LatentSpace:
        """The space that this VAE encodes into, whose strides WanPipeline reads."""
        strides = self.scale_factor_temporal, self.scale_factor_spatial
        return LatentSpace(self.z_dim, *strides, self.latents_mean, self.latents_std)
