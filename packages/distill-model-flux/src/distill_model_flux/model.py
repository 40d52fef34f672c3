"""FLUX.1 at run time. B batch, C latent channels, T = 1 latent frame, H W latent rows and columns, L tokens, D width."""

from __future__ import annotations

from typing import ClassVar

import torch
from diffusers import FluxPipeline
from torch import Tensor, nn

from distill_core.protocols import ModelPlugin
from distill_diffusers.caption_model import CaptionModel
from distill_diffusers.captions import TextParts
from distill_diffusers.clip_text import POOLED
from distill_diffusers.conditions import TOKENS, CaptionTensors, NamedTensors
from distill_diffusers.features import Layers
from distill_diffusers.model_card import PipelineCall
from distill_diffusers.options import GuidedOptions
from distill_diffusers.schedule import Schedule
from distill_model_flux.folder import PATCH, TEXT_LENGTH


class FluxModel(CaptionModel[GuidedOptions]):
    """The :class:`distill_core.protocols.ModelPlugin` of FLUX.1."""

    call: ClassVar[PipelineCall] = PipelineCall(
        "flux", TEXT_LENGTH, fps=1, guidance="true_cfg_scale", needs_negative=True, pictures=True
    )
    # The pipeline packs latents to tokens before its loop, and with them what its scheduler draws.
    schedule: ClassVar[Schedule] = Schedule(asks="sigmas", later_noise="THWChw")
    pads_text: ClassVar[bool] = True
    layers: ClassVar[Layers] = Layers(("transformer_blocks", "single_transformer_blocks"), output=1)
    picture_vae: ClassVar[bool] = True

    def encode_prompt(self, parts: TextParts, caption: str, length: int) -> CaptionTensors:
        """The caption through T5, whose padding is attended, and through CLIP, as one vector."""
        pipeline = FluxPipeline(scheduler=None, vae=None, transformer=None, **parts)
        tokens_1LD, pooled_1D, _ = pipeline.encode_prompt(caption, device=self.device, max_sequence_length=length)
        return {TOKENS: tokens_1LD[0], POOLED: pooled_1D[0]}

    def velocity(self, denoiser: nn.Module, noisy_BCTHW: Tensor, timestep_B: Tensor, captions: NamedTensors) -> Tensor:
        """One pass over the tokens of the latents, told a guidance scale where the denoiser takes one."""
        B, C, _, H, W = noisy_BCTHW.shape
        told = self.facts.told_guidance
        packed = denoiser(
            hidden_states=FluxPipeline._pack_latents(noisy_BCTHW[:, :, 0].contiguous(), B, C, H, W),
            timestep=timestep_B / 1000.0,
            guidance=None if told is None else torch.full_like(timestep_B, told),
            pooled_projections=captions[POOLED],
            encoder_hidden_states=captions[TOKENS],
            txt_ids=noisy_BCTHW.new_zeros(captions[TOKENS].shape[1], 3),
            img_ids=FluxPipeline._prepare_latent_image_ids(
                B, H // PATCH, W // PATCH, noisy_BCTHW.device, noisy_BCTHW.dtype
            ),
            return_dict=False,
        )[0]
        velocity_BCHW: Tensor = FluxPipeline._unpack_latents(packed, H, W, 1)
        return velocity_BCHW[:, :, None]


def _keeps_the_contract(model: FluxModel) -> ModelPlugin:
    """Read by mypy only."""
    return model
