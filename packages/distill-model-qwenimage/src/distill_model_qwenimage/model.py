"""Qwen-Image at run time. B batch, C latent channels, T = 1 latent frame, H W latent rows and columns, L tokens, D width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from diffusers import QwenImagePipeline
from torch import Tensor, nn

from distill_core.protocols import ModelPlugin
from distill_diffusers.caption_model import CaptionModel
from distill_diffusers.captions import TextParts
from distill_diffusers.conditions import TOKENS, CaptionTensors, NamedTensors
from distill_diffusers.features import Layers
from distill_diffusers.model_card import PipelineCall
from distill_diffusers.options import FlowOptions
from distill_diffusers.schedule import Schedule
from distill_model_qwenimage.folder import PATCH, TEXT_LENGTH


class QwenImageModel(CaptionModel[FlowOptions]):
    """The :class:`distill_core.protocols.ModelPlugin` of Qwen-Image."""

    call: ClassVar[PipelineCall] = PipelineCall(
        "qwenimage", TEXT_LENGTH, fps=1, guidance="true_cfg_scale", needs_negative=True, pictures=True
    )
    # The pipeline packs latents to tokens before its loop, and with them what its scheduler draws.
    schedule: ClassVar[Schedule] = Schedule(asks="sigmas", first_noise="TCHW", later_noise="THWChw")
    pads_text: ClassVar[bool] = False
    layers: ClassVar[Layers] = Layers(output=1)

    def encode_prompt(self, parts: TextParts, caption: str, length: int) -> CaptionTensors:
        """The caption within the pipeline's template, of which it leaves out the beginning."""
        pipeline = QwenImagePipeline(scheduler=None, vae=None, transformer=None, **parts)
        tokens_1LD, _ = pipeline.encode_prompt(caption, device=self.device, max_sequence_length=length)
        return {TOKENS: tokens_1LD[0]}

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """The tokens of each caption within the template, without those that the pipeline leaves out."""
        pipeline = QwenImagePipeline(
            scheduler=None, vae=None, transformer=None, text_encoder=None, **self.captions.tokenizers
        )
        counted = super().count_tokens([pipeline.prompt_template_encode.format(caption) for caption in captions])
        return [count - pipeline.prompt_template_encode_start_idx for count in counted]

    def velocity(self, denoiser: nn.Module, noisy_BCTHW: Tensor, timestep_B: Tensor, captions: NamedTensors) -> Tensor:
        """One pass over the tokens of the latents."""
        B, C, T, H, W = noisy_BCTHW.shape
        packed = denoiser(
            hidden_states=QwenImagePipeline._pack_latents(noisy_BCTHW.contiguous(), B, C, H, W),
            timestep=timestep_B / 1000.0,
            encoder_hidden_states=captions[TOKENS],
            encoder_hidden_states_mask=captions[f"{TOKENS}_mask"],
            img_shapes=[[(T, H // PATCH, W // PATCH)]] * B,
            return_dict=False,
        )[0]
        velocity_BCTHW: Tensor = QwenImagePipeline._unpack_latents(packed, H, W, 1)
        return velocity_BCTHW

    def guided(self, cond_BTCHW: Tensor, uncond_BTCHW: Tensor, scale: float) -> Tensor:
        """Guidance that leaves each token its length, as the pipeline does."""

        def lengths(velocity_BTCHW: Tensor) -> Tensor:
            """Of each token, where it lies."""
            B, T, C, H, W = velocity_BTCHW.shape
            tokens = velocity_BTCHW.view(B, T, C, H // PATCH, PATCH, W // PATCH, PATCH)
            each: Tensor = torch.linalg.vector_norm(tokens, dim=(2, 4, 6), keepdim=True)
            return each.expand_as(tokens).reshape(B, T, C, H, W)

        away_BTCHW = super().guided(cond_BTCHW, uncond_BTCHW, scale)
        return away_BTCHW * (lengths(cond_BTCHW) / lengths(away_BTCHW))


def _keeps_the_contract(model: QwenImageModel) -> ModelPlugin:
    """Read by mypy only."""
    return model
