"""Tiny, real HunyuanVideo 1.5 pipelines for tests and for plugin authors: every class is the real one, only small and untrained."""

from __future__ import annotations

from pathlib import Path

from diffusers import (
    AutoencoderKLHunyuanVideo15,
    ClassifierFreeGuidance,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
)
from transformers import ByT5Tokenizer, Qwen2_5_VLTextConfig, Qwen2_5_VLTextModel

from distill_diffusers.testing import TEXT_WIDTH, byte_tokenizer, save_tiny, tiny_t5

CHANNELS = 4
_TEMPLATE = "{% for message in messages %}{{ message.content[:108] if message.role == 'system' else message.content }}{% endfor %}"
"""What comes before a caption is 108 tokens, here letters, as it is of Qwen's: the pipeline leaves out so many."""


def make_tiny_pipeline(path: Path, *, seed: int = 0) -> Path:
    """Save an untrained pipeline in diffusers format; returns ``path``. The global random state is left alone."""
    return save_tiny(path, _pipeline, seed)


def _pipeline() -> HunyuanVideo15Pipeline:
    qwen, letters, width = byte_tokenizer(), ByT5Tokenizer(), 16
    qwen.chat_template = _TEMPLATE
    return HunyuanVideo15Pipeline(
        tokenizer=qwen,
        text_encoder=Qwen2_5_VLTextModel(
            Qwen2_5_VLTextConfig(
                vocab_size=len(qwen), hidden_size=width, intermediate_size=width, num_hidden_layers=3, num_attention_heads=2,
                num_key_value_heads=2, rope_scaling={"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
            )
        ).eval(),
        tokenizer_2=letters,
        text_encoder_2=tiny_t5(letters),
        vae=AutoencoderKLHunyuanVideo15(
            latent_channels=CHANNELS, block_out_channels=(8, 8, 8), layers_per_block=1, spatial_compression_ratio=4,
            temporal_compression_ratio=4,
        ).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
        transformer=HunyuanVideo15Transformer3DModel(
            in_channels=2 * CHANNELS + 1, out_channels=CHANNELS, num_attention_heads=2, attention_head_dim=16, num_layers=2,
            num_refiner_layers=1, text_embed_dim=width, text_embed_2_dim=TEXT_WIDTH, image_embed_dim=8, rope_axes_dim=(4, 6, 6),
            task_type="t2v",
        ),
    )  # fmt: skip
