"""Tiny, real Stable Diffusion 3 pipelines for tests and for plugin authors: every class is the real one, only small and untrained."""

from __future__ import annotations

from pathlib import Path

from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

from distill_diffusers.testing import clip_tokenizer, save_tiny, tiny_clip, tiny_picture_vae, tiny_t5, tiny_tokenizer

CHANNELS = 4
_CLIP_WIDTH = 16
_T5_WIDTH = 2 * _CLIP_WIDTH


def make_tiny_pipeline(path: Path, *, seed: int = 0) -> Path:
    """Save an untrained pipeline in diffusers format; returns ``path``. The global random state is left alone."""
    return save_tiny(path, _pipeline, seed)


def _pipeline() -> StableDiffusion3Pipeline:
    t5, clip = tiny_tokenizer(), clip_tokenizer()
    return StableDiffusion3Pipeline(
        tokenizer=clip,
        text_encoder=tiny_clip(clip, _CLIP_WIDTH, projected=True),
        tokenizer_2=clip,
        text_encoder_2=tiny_clip(clip, _CLIP_WIDTH, projected=True),
        tokenizer_3=t5,
        text_encoder_3=tiny_t5(t5, _T5_WIDTH),
        vae=tiny_picture_vae(CHANNELS, scaling_factor=1.5, shift_factor=0.06),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        transformer=SD3Transformer2DModel(
            sample_size=16, patch_size=2, in_channels=CHANNELS, out_channels=CHANNELS, num_layers=2, attention_head_dim=8,
            num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=_T5_WIDTH, pooled_projection_dim=2 * _CLIP_WIDTH,
            pos_embed_max_size=16, dual_attention_layers=(0,), qk_norm="rms_norm",
        ),
    )  # fmt: skip
