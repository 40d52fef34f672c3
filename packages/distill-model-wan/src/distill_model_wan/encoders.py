"""The frozen parts around the denoiser: captions to embeddings, pixels to raw latents and back. Loaded when first used.

C latent channels, T latent frames, F pixel frames, H W rows and columns (of latents or of pixels), L tokens, D text width.
"""

from __future__ import annotations

from functools import cached_property

import torch
from diffusers import AutoencoderKLWan
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from torch import Tensor
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

from distill_core.errors import DataError
from distill_diffusers.loading import load_part, load_tokenizer
from distill_model_wan.folder import WanFolder


class CaptionEncoder:
    """UMT5, as WanPipeline uses it. One caption at a time, so that no caption's numbers depend on its neighbours."""

    def __init__(self, folder: WanFolder, length: int, device: torch.device, dtype: torch.dtype) -> None:
        self.folder = folder
        self.length = length
        self.device = device
        self.dtype = dtype

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The folder's tokenizer."""
        return load_tokenizer(self.folder)

    @cached_property
    def encoder(self) -> UMT5EncoderModel:
        """The folder's text encoder, on the device."""
        encoder: UMT5EncoderModel = load_part(UMT5EncoderModel, self.folder, "text_encoder", self.dtype)
        return encoder.to(self.device).eval().requires_grad_(False)

    def count(self, caption: str) -> int:
        """The tokens of a caption, its end included, before it is cut."""
        return len(self.tokenizer(prompt_clean(caption), verbose=False).input_ids)

    def release(self) -> None:
        """Let the text encoder go; the next caption loads it again."""
        self.__dict__.pop("encoder", None)

    @torch.no_grad()
    def __call__(self, caption: str) -> Tensor:
        """One caption as float32 [L, D] on the CPU, its own tokens only, cut at the padded length."""
        tokens = self.tokenizer(
            [prompt_clean(caption)],
            padding="max_length",
            max_length=self.length,
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask_1L = tokens.attention_mask.to(self.device)
        embeds_1LD: Tensor = self.encoder(tokens.input_ids.to(self.device), mask_1L).last_hidden_state
        return embeds_1LD[0, : int(tokens.attention_mask.sum())].float().cpu()


class VideoCodec:
    """Wan's VAE, always in float32."""

    def __init__(self, folder: WanFolder, device: torch.device) -> None:
        self.folder = folder
        self.device = device

    @cached_property
    def vae(self) -> AutoencoderKLWan:
        """The folder's VAE, on the device."""
        vae: AutoencoderKLWan = load_part(AutoencoderKLWan, self.folder, "vae", torch.float32)
        return vae.to(self.device).eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, frames_FHW3: Tensor) -> Tensor:
        """uint8 frames as the mode of the raw latent, float32 [C, T, H, W] on the CPU. Raises DataError for a size that does not fit."""
        self._refuse_misfit(*frames_FHW3.shape[:3])
        pixels_3FHW = frames_FHW3.to(self.device).permute(3, 0, 1, 2).float() / 255.0 * 2.0 - 1.0
        latent_1CTHW: Tensor = self.vae.encode(pixels_3FHW[None]).latent_dist.mode()
        return latent_1CTHW[0].cpu()

    @torch.no_grad()
    def decode(self, raw_CTHW: Tensor) -> Tensor:
        """A raw latent as uint8 frames [F, H, W, 3] on the device."""
        pixels_13FHW: Tensor = self.vae.decode(raw_CTHW[None].to(self.device), return_dict=False)[0]
        frames_3FHW = (pixels_13FHW[0] / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0
        return frames_3FHW.round().to(torch.uint8).permute(1, 2, 3, 0)

    def _refuse_misfit(self, frames: int, height: int, width: int) -> None:
        space = self.folder.latent_space
        if space.latent_frames(frames) is None:
            raise DataError(
                f"{frames} frames are not 1 + a multiple of {space.temporal_stride}; cut the clip to {space.whole_frames(frames)}"
            )
        for name, size, patch in (("height", height, self.folder.patch[1]), ("width", width, self.folder.patch[2])):
            multiple = space.spatial_stride * patch
            if size % multiple:
                raise DataError(
                    f"{name} {size} is not a multiple of {multiple}; scale or crop it to {size // multiple * multiple}"
                )
