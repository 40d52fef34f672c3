"""Tiny, real FLUX.1 pipelines for tests and for plugin authors: every class and file is the real one, only small and untrained."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

from distill_diffusers.testing import (
    TEXT_WIDTH,
    clip_tokenizer,
    save_tiny,
    tiny_clip,
    tiny_picture_vae,
    tiny_t5,
    tiny_tokenizer,
)

CHANNELS = 4


def make_tiny_pipeline(path: Path, *, seed: int = 0, told_guidance: bool = True) -> Path:
    """Save an untrained pipeline in diffusers format; returns ``path``. The global random state is left alone.

    ``told_guidance``: as FLUX.1-dev; as FLUX.1-schnell otherwise.
    """
    return save_tiny(path, partial(_pipeline, told_guidance), seed)


def _pipeline(told_guidance: bool) -> FluxPipeline:
    t5, clip = tiny_tokenizer(), clip_tokenizer()
    return FluxPipeline(
        tokenizer=clip,
        text_encoder=tiny_clip(clip),
        tokenizer_2=t5,
        text_encoder_2=tiny_t5(t5),
        vae=tiny_picture_vae(CHANNELS, scaling_factor=0.36, shift_factor=0.12),
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0 if told_guidance else 1.0, use_dynamic_shifting=told_guidance, base_image_seq_len=256
        ),
        transformer=FluxTransformer2DModel(
            in_channels=4 * CHANNELS, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=TEXT_WIDTH, pooled_projection_dim=TEXT_WIDTH, guidance_embeds=told_guidance, axes_dims_rope=(4, 4, 8),
        ),
    )  # fmt: skip
