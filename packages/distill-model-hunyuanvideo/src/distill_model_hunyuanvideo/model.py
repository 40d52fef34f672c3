"""HunyuanVideo at run time. B batch, C latent channels, T latent frames, H W latent rows and columns, L tokens, D width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from diffusers import HunyuanVideoPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
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
from distill_model_hunyuanvideo.folder import TEXT_LENGTH


class HunyuanVideoModel(CaptionModel[GuidedOptions]):
    """The :class:`distill_core.protocols.ModelPlugin` of HunyuanVideo."""

    call: ClassVar[PipelineCall] = PipelineCall(
        "hunyuanvideo", TEXT_LENGTH, fps=24, guidance="true_cfg_scale", needs_negative=True
    )
    schedule: ClassVar[Schedule] = Schedule(asks="sigmas")
    pads_text: ClassVar[bool] = False
    layers: ClassVar[Layers] = Layers(("transformer_blocks", "single_transformer_blocks"), output=0)

    def encode_prompt(self, parts: TextParts, caption: str, length: int) -> CaptionTensors:
        """The caption within the pipeline's template through Llama, of which the beginning is left out; and as one vector of CLIP."""
        pipeline = HunyuanVideoPipeline(scheduler=None, vae=None, transformer=None, **parts)
        tokens_1LD, pooled_1D, mask_1L = pipeline.encode_prompt(caption, device=self.device, max_sequence_length=length)
        return {TOKENS: tokens_1LD[0][mask_1L[0].bool()], POOLED: pooled_1D[0]}

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """The tokens of each caption within the template, without those that the pipeline leaves out."""
        template, left_out = DEFAULT_PROMPT_TEMPLATE["template"], DEFAULT_PROMPT_TEMPLATE["crop_start"]
        return [count - left_out for count in super().count_tokens([template.format(each) for each in captions])]

    def velocity(self, denoiser: nn.Module, noisy_BCTHW: Tensor, timestep_B: Tensor, captions: NamedTensors) -> Tensor:
        """One pass, told a guidance scale where the denoiser takes one."""
        told = self.facts.told_guidance
        velocity_BCTHW: Tensor = denoiser(
            hidden_states=noisy_BCTHW,
            timestep=timestep_B,
            encoder_hidden_states=captions[TOKENS],
            encoder_attention_mask=captions[f"{TOKENS}_mask"],
            pooled_projections=captions[POOLED],
            guidance=None if told is None else torch.full_like(timestep_B, 1000.0 * told),
            return_dict=False,
        )[0]
        return velocity_BCTHW


def _keeps_the_contract(model: HunyuanVideoModel) -> ModelPlugin:
    """Read by mypy only."""
    return model
