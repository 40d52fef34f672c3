"""Tiny, real LTX-Video pipelines for tests and for plugin authors: every class and every file is the real one, only small and untrained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXPipeline, LTXVideoTransformer3DModel

from distill_diffusers.testing import CAPTIONS, TEXT_WIDTH, save_tiny, tiny_t5, tiny_tokenizer

CHANNELS = 8


def make_tiny_pipeline(
    path: Path, *, seed: int = 0, denoising_vae: bool = False, captions: Sequence[str] = CAPTIONS
) -> Path:
    """Save an untrained pipeline in diffusers format; returns ``path``. The global random state is left alone.

    ``denoising_vae``: with a VAE that denoises while it decodes. ``captions``: what the tokenizer learns its words from.
    """
    return save_tiny(path, partial(_pipeline, denoising_vae, captions), seed)


def _pipeline(denoising_vae: bool, captions: Sequence[str]) -> LTXPipeline:
    tokenizer = tiny_tokenizer(captions)
    return LTXPipeline(
        tokenizer=tokenizer,
        text_encoder=tiny_t5(tokenizer),
        vae=_vae(denoising_vae),
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, shift_terminal=0.1
        ),
        transformer=LTXVideoTransformer3DModel(
            in_channels=CHANNELS, out_channels=CHANNELS, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32,
            num_layers=2, caption_channels=TEXT_WIDTH,
        ),
    )  # fmt: skip


def _vae(denoising: bool) -> AutoencoderKLLTXVideo:
    vae = AutoencoderKLLTXVideo(
        latent_channels=CHANNELS, block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4, layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5, spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False), patch_size=2, patch_size_t=1, timestep_conditioning=denoising,
    ).eval()  # fmt: skip
    vae.latents_mean.copy_(0.1 * torch.arange(CHANNELS))
    vae.latents_std.copy_(1.0 + 0.1 * torch.arange(CHANNELS))
    return vae
