"""Pixels with the graph, through Wan's causal VAE: a latent frame at a time, and again in backward instead of kept.

What is computed is what diffusers' ``encode`` and ``decode`` compute, to the last bit; between two frames only the features that the VAE's
causal convolutions look back on are kept. C latent channels, T latent frames, F pixel frames, H W rows and columns.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, patchify, unpatchify
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Cache = tuple[Tensor | str | None, ...]
"""What each causal convolution looks back on; diffusers keeps a word where one has had a frame and needs none of it."""


def decoded(vae: AutoencoderKLWan, raw_1CTHW: Tensor) -> Tensor:
    """A raw latent as frames in [0, 1], [F, 3, H, W]. Pixels beyond are cut, and have no gradient."""
    hidden_1CTHW: Tensor = vae.post_quant_conv(raw_1CTHW)
    cache, parts = _empty(vae.decoder), []
    for index, frame in enumerate(hidden_1CTHW.split(1, dim=2)):
        part, cache = _coded(vae.decoder, frame, cache, first_chunk=index == 0)
        parts.append(part)
    pixels_13FHW: Tensor = torch.cat(parts, dim=2)
    if vae.config.patch_size is not None:
        pixels_13FHW = unpatchify(pixels_13FHW, patch_size=vae.config.patch_size)
    pixels_3FHW: Tensor = (pixels_13FHW[0].clamp(-1.0, 1.0) / 2.0 + 0.5).clamp(0.0, 1.0)
    return pixels_3FHW.transpose(0, 1)


def encoded(vae: AutoencoderKLWan, pixels_F3HW: Tensor, temporal_stride: int) -> Tensor:
    """Frames in [0, 1] as the mode of the raw latent, [1, C, T, H, W]."""
    pixels_13FHW = (pixels_F3HW * 2.0 - 1.0).transpose(0, 1)[None].contiguous()
    if vae.config.patch_size is not None:
        pixels_13FHW = patchify(pixels_13FHW, patch_size=vae.config.patch_size)
    cache, parts = _empty(vae.encoder), []
    for frames in (pixels_13FHW[:, :, :1], *pixels_13FHW[:, :, 1:].split(temporal_stride, dim=2)):
        if frames.shape[2]:
            part, cache = _coded(vae.encoder, frames, cache)
            parts.append(part)
    latent_1CTHW: Tensor = vae.quant_conv(torch.cat(parts, dim=2)).chunk(2, dim=1)[0]
    return latent_1CTHW


def _empty(coder: nn.Module) -> Cache:
    """The cache before the first frame."""
    return (None,) * sum(isinstance(module, WanCausalConv3d) for module in coder.modules())


def _coded(coder: nn.Module, frames: Tensor, cache: Cache, **options: bool) -> tuple[Tensor, Cache]:
    """Frames through the encoder or the decoder, and the cache for the next ones."""
    if not torch.is_grad_enabled():
        return _pass(coder, frames, cache, options)
    # The VAE is frozen and draws nothing, so there is no random state to keep.
    result: Any = checkpoint(_pass, coder, frames, cache, options, use_reentrant=False, preserve_rng_state=False)
    out, filled = result
    return out, filled


def _pass(coder: nn.Module, frames: Tensor, cache: Cache, options: dict[str, bool]) -> tuple[Tensor, Cache]:
    filled = list(cache)
    out: Tensor = coder(frames, feat_cache=filled, feat_idx=[0], **options)
    return out, tuple(filled)
