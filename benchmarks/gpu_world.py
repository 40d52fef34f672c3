"""Wan pipelines of published sizes with random numbers for weights, and data to go with them: what a GPU is timed on.

Every class and every file is the real one, and so is the denoiser's shape. Text encoder and decoder are tiny, for no step of training
asks them anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_diffusers.quiet import quietly
from distill_diffusers.testing import CAPTIONS, tiny_tokenizer
from distill_model_wan.published import published_scheduler

TEXT_WIDTH = 4096
TEXT_TOKENS = 128
CHANNELS = 16


@dataclass(frozen=True)
class Size:
    """A published denoiser: heads of 128 numbers, the width of its feed-forward layers, its blocks."""

    heads: int
    feed_forward: int
    blocks: int


SIZES = {"1.3B": Size(12, 8960, 30), "14B": Size(40, 13824, 40)}
SMOKE = Size(12, 8960, 8)
"""The 1.3B, with fewer blocks."""


def make_pipeline(path: Path, size: Size, device: torch.device) -> Path:
    """Save a pipeline in bf16; returns ``path``. The numbers are drawn on ``device``."""
    torch.manual_seed(0)
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        transformer = WanTransformer3DModel(
            num_attention_heads=size.heads,
            attention_head_dim=128,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            text_dim=TEXT_WIDTH,
            ffn_dim=size.feed_forward,
            num_layers=size.blocks,
        )
        torch.set_default_dtype(torch.float32)
    tokenizer = tiny_tokenizer(CAPTIONS)
    encoder = UMT5Config(
        vocab_size=len(tokenizer), d_model=TEXT_WIDTH, d_kv=8, d_ff=8, num_layers=1, num_heads=1, pad_token_id=0
    )
    vae = AutoencoderKLWan(
        base_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1, z_dim=CHANNELS, temperal_downsample=[False, True, True]
    )
    pipeline = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=UMT5EncoderModel(encoder),
        vae=vae,
        scheduler=published_scheduler(3.0),
        transformer=transformer,
    )
    with quietly():
        pipeline.save_pretrained(path)
    return path


def make_data(path: Path, frames: int, height: int, width: int, rows: int = 8) -> Path:
    """Write ``rows`` clips of noise, of ``frames`` by ``height`` by ``width`` pixels; returns ``path``."""
    generator = torch.Generator().manual_seed(0)
    shape = (CHANNELS, (frames - 1) // 4 + 1, height // 8, width // 8)
    with ParquetWriter(path, T2V_SCHEMA) as writer:
        for row in range(rows):
            latent_CTHW = 2 * torch.randn(shape, generator=generator) + 0.5
            text_LD = torch.randn(TEXT_TOKENS, TEXT_WIDTH, generator=generator)
            caption = CAPTIONS[row % len(CAPTIONS)]
            writer.add(ClipRecord(f"clip-{row}", caption, text_LD, latent_CTHW, "", width, height, frames, 16.0))
    return path
