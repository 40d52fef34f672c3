"""Tiny, real Wan pipelines for tests and for plugin authors: every class and every file is the real one, only small and untrained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKLWan, WanImageToVideoPipeline, WanPipeline, WanTransformer3DModel
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from distill_diffusers.export_record import RECORD
from distill_diffusers.quiet import quietly
from distill_diffusers.testing import CAPTIONS, TEXT_WIDTH, tiny_tokenizer
from distill_model_wan.published import published_scheduler

Variant = Literal["t2v", "a14b", "ti2v", "i2v", "flf2v", "i2v-a14b", "ti2v-i2v"]
"""Wan 2.1 T2V, Wan 2.2 T2V with two experts, Wan 2.2 TI2V; of pictures Wan 2.1 I2V and FLF2V, Wan 2.2 I2V with two experts, and TI2V."""


IMAGE_PATCH = 8
_IMAGE_SIZES: dict[str, Any] = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}


def make_tiny_pipeline(
    path: Path,
    variant: Variant = "t2v",
    *,
    seed: int = 0,
    flow_shift: float = 3.0,
    text_length: int | None = None,
    captions: Sequence[str] = CAPTIONS,
) -> Path:
    """Save an untrained pipeline of about 300 KB in diffusers format; returns ``path``. The global random state is left alone.

    ``text_length``: record a padded text length other than Wan's 512. ``captions``: what the tokenizer learns its words from.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = tiny_tokenizer(captions)
        experts = variant.endswith("a14b")
        parts = {
            "tokenizer": tokenizer,
            "text_encoder": _text_encoder(len(tokenizer)),
            "vae": _vae(variant),
            "scheduler": published_scheduler(flow_shift),
            "transformer": _transformer(variant),
            "transformer_2": _transformer(variant) if experts else None,
            "boundary_ratio": 0.875 if experts else None,
            "expand_timesteps": variant.startswith("ti2v"),
        }
        if variant in ("t2v", "a14b", "ti2v"):
            pipeline = WanPipeline(**parts)
        else:
            attended = variant in ("i2v", "flf2v")
            pipeline = WanImageToVideoPipeline(
                **parts,
                image_encoder=_image_encoder() if attended else None,
                image_processor=CLIPImageProcessorPil(**_IMAGE_SIZES) if attended else None,
            )
    with quietly():
        pipeline.save_pretrained(path)
    if text_length is not None:
        (path / RECORD).write_text(json.dumps({"text_length": text_length}), encoding="utf-8")
    return path


def _transformer(variant: Variant) -> Any:
    channels = 48 if variant.startswith("ti2v") else 16
    of_pictures: dict[str, Any] = {}
    if variant in ("i2v", "flf2v"):
        tokens = (_IMAGE_SIZES["size"]["shortest_edge"] // IMAGE_PATCH) ** 2 + 1
        of_pictures = {"image_dim": TEXT_WIDTH, "added_kv_proj_dim": 24}
        of_pictures["pos_embed_seq_len"] = 2 * tokens if variant == "flf2v" else None
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=channels if variant in ("t2v", "a14b", "ti2v", "ti2v-i2v") else 2 * channels + 4,
        out_channels=channels,
        text_dim=TEXT_WIDTH,
        freq_dim=256,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=32,
        **of_pictures,
    )
    # diffusers starts every linear bias at its default, but a fresh text branch hardly moves the output: make it count in tests.
    with torch.no_grad():
        for block in transformer.blocks:
            block.attn2.to_v.weight.mul_(4.0)
    return transformer


def _vae(variant: Variant) -> Any:
    sizes: dict[str, Any] = {"base_dim": 3, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    if not variant.startswith("ti2v"):
        return AutoencoderKLWan(z_dim=16, temperal_downsample=[False, True, True], **sizes).eval()
    return AutoencoderKLWan(
        z_dim=48,
        in_channels=12,
        out_channels=12,
        is_residual=True,
        patch_size=2,
        scale_factor_spatial=16,
        temperal_downsample=[False, True, True],
        latents_mean=[0.01 * channel for channel in range(48)],
        latents_std=[1.0 + 0.01 * channel for channel in range(48)],
        **sizes,
    ).eval()


def _image_encoder() -> Any:
    sizes = {"image_size": _IMAGE_SIZES["size"]["shortest_edge"], "patch_size": IMAGE_PATCH}
    width = {"hidden_size": TEXT_WIDTH, "intermediate_size": 37}
    return CLIPVisionModel(CLIPVisionConfig(**sizes, **width, num_hidden_layers=3, num_attention_heads=2)).eval()


def _text_encoder(vocabulary: int) -> Any:
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=TEXT_WIDTH,
        d_kv=8,
        d_ff=37,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        pad_token_id=0,
        eos_token_id=1,
    )
    return UMT5EncoderModel(config).eval()
