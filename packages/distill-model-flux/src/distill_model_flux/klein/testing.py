"""Tiny, real FLUX.2 klein pipelines for tests and for plugin authors: every class and file is the real one, only small and untrained."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from transformers import Qwen3Config, Qwen3ForCausalLM

from distill_diffusers.testing import byte_tokenizer, save_tiny

CHANNELS = 4
_TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
"""As Qwen's begins: who speaks, and what they say."""


def make_tiny_pipeline(path: Path, *, seed: int = 0, distilled: bool = False) -> Path:
    """Save an untrained pipeline in diffusers format; returns ``path``. The global random state is left alone.

    ``distilled``: as FLUX.2 klein; as its base model otherwise.
    """
    return save_tiny(path, partial(_pipeline, distilled), seed)


def _pipeline(distilled: bool) -> Flux2KleinPipeline:
    qwen, width = byte_tokenizer(), 8
    qwen.chat_template = _TEMPLATE + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=CHANNELS, layers_per_block=1, norm_num_groups=4,
    ).eval()  # fmt: skip
    vae.bn.running_mean.copy_(torch.linspace(-0.2, 0.3, 4 * CHANNELS))
    vae.bn.running_var.copy_(torch.linspace(0.5, 2.0, 4 * CHANNELS))
    return Flux2KleinPipeline(
        tokenizer=qwen,
        text_encoder=Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(qwen), hidden_size=width, intermediate_size=width, num_hidden_layers=27, num_attention_heads=2,
                num_key_value_heads=2, head_dim=4,
            )
        ).eval(),
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        transformer=Flux2Transformer2DModel(
            in_channels=4 * CHANNELS, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=3 * width, guidance_embeds=False, axes_dims_rope=(4, 4, 4, 4),
        ),
        is_distilled=distilled,
    )  # fmt: skip
