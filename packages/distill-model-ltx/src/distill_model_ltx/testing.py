"""Tiny, real LTX-Video pipelines for tests and for plugin authors: every class and every file is the real one, only small and untrained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel

from distill_diffusers.quiet import quietly
from distill_diffusers.testing import CAPTIONS, TEXT_WIDTH, tiny_tokenizer

CHANNELS = 8


def make_tiny_pipeline(
    path: Path, *, seed: int = 0, denoising_vae: bool = False, captions: Sequence[str] = CAPTIONS
) -> Path:
    """Save an untrained pipeline in diffusers format; returns ``path``. The global random state is left alone.

    ``denoising_vae``: with a VAE that denoises while it decodes. ``captions``: what the tokenizer learns its words from.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = tiny_tokenizer(captions)
        config = T5Config(
            vocab_size=len(tokenizer), d_model=TEXT_WIDTH, d_kv=8, d_ff=37, num_layers=2, num_heads=4, relative_attention_num_buckets=8
        )  # fmt: skip
        pipeline = LTXPipeline(
            tokenizer=tokenizer,
            text_encoder=T5EncoderModel(config).eval(),
            vae=_vae(denoising_vae),
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, shift_terminal=0.1
            ),
            transformer=LTXVideoTransformer3DModel(
                in_channels=CHANNELS,
                out_channels=CHANNELS,
                num_attention_heads=2,
                attention_head_dim=16,
                cross_attention_dim=32,
                num_layers=2,
                caption_channels=TEXT_WIDTH,
            ),
        )
    with quietly():
        pipeline.save_pretrained(path)
    return path


def _vae(denoising: bool) -> AutoencoderKLLTXVideo:
    vae = AutoencoderKLLTXVideo(
        latent_channels=CHANNELS,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        patch_size=2,
        patch_size_t=1,
        timestep_conditioning=denoising,
    ).eval()
    vae.latents_mean.copy_(0.1 * torch.arange(CHANNELS))
    vae.latents_std.copy_(1.0 + 0.1 * torch.arange(CHANNELS))
    return vae
