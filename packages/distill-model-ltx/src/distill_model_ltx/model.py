"""LTX-Video at run time. B batch, C latent channels, T latent frames, H W latent rows and columns, L tokens, D text width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from diffusers import LTXPipeline
from torch import Tensor, nn

from distill_core.protocols import ModelPlugin
from distill_diffusers.caption_model import CaptionModel
from distill_diffusers.captions import TextParts
from distill_diffusers.conditions import TOKENS, CaptionTensors, NamedTensors
from distill_diffusers.features import Layers
from distill_diffusers.model_card import PipelineCall
from distill_diffusers.schedule import Schedule
from distill_model_ltx.folder import TEXT_LENGTH, VaeConfig
from distill_model_ltx.plugin import LtxOptions


class LtxModel(CaptionModel[LtxOptions]):
    """The :class:`distill_core.protocols.ModelPlugin` of LTX-Video."""

    call: ClassVar[PipelineCall] = PipelineCall("ltx", TEXT_LENGTH, fps=25)
    # The pipeline packs latents to tokens before its loop, and with them what its scheduler draws.
    schedule: ClassVar[Schedule] = Schedule(asks="sigmas", later_noise="THWC")
    pads_text: ClassVar[bool] = False
    layers: ClassVar[Layers] = Layers()

    def encode_prompt(self, parts: TextParts, caption: str, length: int) -> CaptionTensors:
        """The caption through T5, as the pipeline does, without the padding, which the transformer masks."""
        pipeline = LTXPipeline(scheduler=None, vae=None, transformer=None, **parts)
        tokens_1LD, mask_1L, _, _ = pipeline.encode_prompt(
            caption, do_classifier_free_guidance=False, max_sequence_length=length, device=self.device
        )
        return {TOKENS: tokens_1LD[0][mask_1L[0]]}

    def velocity(self, denoiser: nn.Module, noisy_BCTHW: Tensor, timestep_B: Tensor, captions: NamedTensors) -> Tensor:
        """One pass over the tokens of the latents."""
        temporal, patch, _ = self.facts.patch
        frames, rows, columns = (size // by for size, by in zip(noisy_BCTHW.shape[2:], self.facts.patch, strict=True))
        space = self.facts.latent_space
        packed = denoiser(
            hidden_states=LTXPipeline._pack_latents(noisy_BCTHW, patch, temporal),
            encoder_hidden_states=captions[TOKENS],
            encoder_attention_mask=captions[f"{TOKENS}_mask"],
            timestep=timestep_B,
            num_frames=frames,
            height=rows,
            width=columns,
            rope_interpolation_scale=(
                space.temporal_stride / self.options.frame_rate,
                space.spatial_stride,
                space.spatial_stride,
            ),
            return_dict=False,
        )[0]
        velocity_BCTHW: Tensor = LTXPipeline._unpack_latents(packed, frames, rows, columns, patch, temporal)
        return velocity_BCTHW

    def card_arguments(self) -> Mapping[str, object]:
        """How a VAE that denoises while it decodes is called."""
        if not self.facts.folder.config(VaeConfig, "vae").timestep_conditioning:
            return {}
        options = self.options
        return {"decode_timestep": options.decode_timestep, "decode_noise_scale": options.decode_noise_scale}

    def decode_raw(self, vae: Any, raw_BCTHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Raw latents as pixels; a VAE that denoises while it decodes is given noise of the video's own generator, or always the same."""
        timestep_B = None
        if vae.config.timestep_conditioning:
            drawn = torch.Generator().manual_seed(0) if generator is None else generator
            noise_BCTHW = torch.randn(raw_BCTHW.shape, generator=drawn).to(raw_BCTHW)
            raw_BCTHW = torch.lerp(raw_BCTHW, noise_BCTHW, self.options.decode_noise_scale)
            timestep_B = torch.full((len(raw_BCTHW),), self.options.decode_timestep).to(raw_BCTHW)
        pixels_B3FHW: Tensor = vae.decode(raw_BCTHW, timestep_B, return_dict=False)[0]
        return pixels_B3FHW


def _keeps_the_contract(model: LtxModel) -> ModelPlugin:
    """Read by mypy only."""
    return model
