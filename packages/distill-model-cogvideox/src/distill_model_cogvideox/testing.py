"""Tiny, real CogVideoX pipelines for tests and for plugin authors: every class and file is the real one, only small and untrained."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDPMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)

from distill_diffusers.testing import TEXT_WIDTH, save_tiny, tiny_t5, tiny_tokenizer

CHANNELS = 4


def make_tiny_pipeline(path: Path, *, seed: int = 0, newer: bool = False) -> Path:
    """Save an untrained pipeline in diffusers format; returns ``path``. The global random state is left alone.

    ``newer``: as CogVideoX 1.5, of which a token is two latent frames, and which is refused; as CogVideoX 5B otherwise.
    """
    return save_tiny(path, partial(_pipeline, newer), seed)


def _pipeline(newer: bool) -> CogVideoXPipeline:
    tokenizer = tiny_tokenizer()
    return CogVideoXPipeline(
        tokenizer=tokenizer,
        text_encoder=tiny_t5(tokenizer),
        vae=AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 3, up_block_types=("CogVideoXUpBlock3D",) * 3, block_out_channels=(8, 8, 8),
            latent_channels=CHANNELS, layers_per_block=1, norm_num_groups=2, temporal_compression_ratio=4, scaling_factor=0.7,
        ).eval(),
        scheduler=CogVideoXDPMScheduler(
            snr_shift_scale=1.0, timestep_spacing="trailing", rescale_betas_zero_snr=True, prediction_type="v_prediction"
        ),
        transformer=CogVideoXTransformer3DModel(
            num_attention_heads=2, attention_head_dim=16, in_channels=CHANNELS, out_channels=CHANNELS, time_embed_dim=8,
            text_embed_dim=TEXT_WIDTH, num_layers=2, sample_width=12, sample_height=8, sample_frames=9, patch_size=2,
            patch_size_t=2 if newer else None, patch_bias=not newer, max_text_seq_length=24, use_rotary_positional_embeddings=True,
        ),
    )  # fmt: skip
