"""Tiny, real HunyuanVideo pipelines for tests and for plugin authors: every class is the real one, only small and untrained."""

from __future__ import annotations

from pathlib import Path

from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from transformers import LlamaConfig, LlamaModel

from distill_diffusers.testing import CAPTIONS, TEXT_WIDTH, clip_tokenizer, save_tiny, tiny_clip, tiny_tokenizer

CHANNELS = 4


def make_tiny_pipeline(path: Path, *, seed: int = 0) -> Path:
    """Save an untrained pipeline in diffusers format; returns ``path``. The global random state is left alone."""
    return save_tiny(path, _pipeline, seed)


def _pipeline() -> HunyuanVideoPipeline:
    # It has learned the words of the template: letter by letter, that would fill a caption's whole length.
    llama, clip = tiny_tokenizer([*CAPTIONS, *[DEFAULT_PROMPT_TEMPLATE["template"].format("")] * 3]), clip_tokenizer()
    return HunyuanVideoPipeline(
        tokenizer=llama,
        text_encoder=LlamaModel(
            LlamaConfig(
                vocab_size=len(llama), hidden_size=TEXT_WIDTH, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
                pad_token_id=llama.pad_token_id,
            )
        ).eval(),
        tokenizer_2=clip,
        text_encoder_2=tiny_clip(clip),
        vae=AutoencoderKLHunyuanVideo(
            latent_channels=CHANNELS, down_block_types=("HunyuanVideoDownBlock3D",) * 3, up_block_types=("HunyuanVideoUpBlock3D",) * 3,
            block_out_channels=(8, 8, 8), layers_per_block=1, norm_num_groups=4, spatial_compression_ratio=4,
            temporal_compression_ratio=4, mid_block_add_attention=False,
        ).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        transformer=HunyuanVideoTransformer3DModel(
            in_channels=CHANNELS, out_channels=CHANNELS, num_attention_heads=2, attention_head_dim=16, num_layers=1, num_single_layers=1,
            num_refiner_layers=1, patch_size=2, patch_size_t=1, guidance_embeds=True, text_embed_dim=TEXT_WIDTH,
            pooled_projection_dim=TEXT_WIDTH, rope_axes_dim=(4, 6, 6),
        ),
    )  # fmt: skip
