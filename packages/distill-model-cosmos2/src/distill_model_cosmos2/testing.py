"""Tiny, real Cosmos-Predict2 pipelines for tests and for plugin authors: every class is the real one, only small and untrained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import (
    AutoencoderKLWan,
    Cosmos2TextToImagePipeline,
    CosmosTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
)

from distill_diffusers.testing import TEXT_WIDTH, save_tiny, tiny_t5, tiny_tokenizer

CHANNELS = 16


class NoGuardrail:
    """Stands in for the pipeline's guardrail, which is a package of its own; the pipeline is not made without one."""

    def to(self, device: Any) -> NoGuardrail:
        """It has no weights."""
        return self

    def check_text_safety(self, text: str) -> bool:
        """It has nothing against any."""
        return True

    def check_video_safety(self, frames: Any) -> Any:
        """It changes none."""
        return frames


def make_tiny_pipeline(path: Path, *, seed: int = 0) -> Path:
    """Save an untrained pipeline in diffusers format; returns ``path``. The global random state is left alone."""
    return save_tiny(path, _pipeline, seed)


def _pipeline() -> Cosmos2TextToImagePipeline:
    tokenizer = tiny_tokenizer()
    pipeline = Cosmos2TextToImagePipeline(
        tokenizer=tokenizer,
        text_encoder=tiny_t5(tokenizer),
        vae=AutoencoderKLWan(
            base_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1, z_dim=CHANNELS, temperal_downsample=[False, True, True]
        ).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
        transformer=CosmosTransformer3DModel(
            in_channels=CHANNELS, out_channels=CHANNELS, num_attention_heads=2, attention_head_dim=16, num_layers=2, mlp_ratio=2,
            text_embed_dim=TEXT_WIDTH, adaln_lora_dim=4, max_size=(4, 32, 32), patch_size=(1, 2, 2), rope_scale=(2.0, 1.0, 1.0),
            concat_padding_mask=True, extra_pos_embed_type=None,
        ),
        safety_checker=NoGuardrail(),
    )  # fmt: skip
    pipeline.register_modules(safety_checker=None)
    return pipeline
