"""Tiny, real Qwen-Image pipelines for tests and for plugin authors: every class and file is the real one, only small and untrained."""

from __future__ import annotations

from pathlib import Path

from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from distill_diffusers.testing import byte_tokenizer, save_tiny

CHANNELS = 4


def make_tiny_pipeline(path: Path, *, seed: int = 0) -> Path:
    """Save an untrained pipeline in diffusers format; returns ``path``. The global random state is left alone."""
    return save_tiny(path, _pipeline, seed)


def _pipeline() -> QwenImagePipeline:
    tokenizer = byte_tokenizer()
    width = 16
    text = {
        "hidden_size": width, "intermediate_size": width, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
        "vocab_size": len(tokenizer), "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": width, "intermediate_size": width, "num_heads": 2, "out_hidden_size": width,
    }  # fmt: skip
    ids = {"image_token_id": 1, "video_token_id": 2, "vision_start_token_id": 3, "vision_end_token_id": 4}
    return QwenImagePipeline(
        tokenizer=tokenizer,
        text_encoder=Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
        ).eval(),
        vae=AutoencoderKLQwenImage(
            base_dim=4, z_dim=CHANNELS, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True],
            latents_mean=[0.1 * channel for channel in range(CHANNELS)], latents_std=[1.0 + 0.1 * channel for channel in range(CHANNELS)],
        ).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, base_image_seq_len=256, max_image_seq_len=8192, shift_terminal=0.02
        ),
        transformer=QwenImageTransformer2DModel(
            in_channels=4 * CHANNELS, out_channels=CHANNELS, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=width, axes_dims_rope=(8, 4, 4),
        ),
    )  # fmt: skip
