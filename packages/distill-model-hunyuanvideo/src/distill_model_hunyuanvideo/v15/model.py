"""HunyuanVideo 1.5 at run time. B batch, C latent channels, T latent frames, H W latent rows and columns, L tokens, D width."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from types import MethodType
from typing import Any, ClassVar

import torch
from diffusers import HunyuanVideo15Pipeline
from diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5 import format_text_input
from torch import Tensor, nn

from distill_core.errors import ModelFolderError
from distill_core.plugins import ModelFacts
from distill_core.protocols import ModelPlugin, ModelRequest
from distill_diffusers.caption_model import CaptionModel
from distill_diffusers.captions import TextParts
from distill_diffusers.conditions import MASK, TOKENS, CaptionTensors, NamedTensors
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.features import Layers
from distill_diffusers.model_card import PipelineCall
from distill_diffusers.options import FlowOptions
from distill_diffusers.schedule import Schedule
from distill_model_hunyuanvideo.v15.denoiser import from_text
from distill_model_hunyuanvideo.v15.folder import GLYPHS, TEXT_LENGTH


class HunyuanVideo15Model(CaptionModel[FlowOptions]):
    """The :class:`distill_core.protocols.ModelPlugin` of HunyuanVideo 1.5."""

    call: ClassVar[PipelineCall] = PipelineCall("hunyuanvideo15", TEXT_LENGTH, fps=24, guider=True)
    schedule: ClassVar[Schedule] = Schedule(asks="sigmas")
    pads_text: ClassVar[bool] = False
    layers: ClassVar[Layers] = Layers(output=0)

    def settled(self, facts: ModelFacts, options: FlowOptions) -> DiffusersFacts:
        """A folder's facts; the length of captions is the pipeline's own. Raises ModelFolderError for another."""
        if options.text_length not in (None, TEXT_LENGTH):
            raise ModelFolderError(
                f"pipeline_config.text_length is {options.text_length}, and HunyuanVideo15Pipeline takes {TEXT_LENGTH} tokens, whatever "
                "it is asked for; leave it out: padding costs nothing here"
            )
        return super().settled(facts, options)

    def encode_prompt(self, parts: TextParts, caption: str, length: int) -> CaptionTensors:
        """The caption within the pipeline's template through Qwen2.5-VL, without its beginning; what is in quotation marks through ByT5."""
        pipeline = HunyuanVideo15Pipeline
        tokens_1LD, own_1L = pipeline._get_mllm_prompt_embeds(
            parts["text_encoder"], parts["tokenizer"], caption, self.device, tokenizer_max_length=length
        )
        glyphs_1LD, drawn_1L = pipeline._get_byt5_prompt_embeds(
            parts["tokenizer_2"], parts["text_encoder_2"], caption, self.device
        )
        # The pipeline's padding is zeros: of a caption without quotation marks, one token of that is kept.
        drawn = max(1, int(drawn_1L[0].sum()))
        return {TOKENS: tokens_1LD[0][own_1L[0].bool()], GLYPHS: glyphs_1LD[0, :drawn]}

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """The tokens of each caption within the template, without those that the pipeline leaves out."""
        usual = signature(HunyuanVideo15Pipeline._get_mllm_prompt_embeds).parameters
        talks = format_text_input(list(captions), usual["system_message"].default)
        made = self.captions.tokenizers["tokenizer"].apply_chat_template(
            talks, add_generation_prompt=True, tokenize=True
        )
        return [len(tokens) - int(usual["crop_start"].default) for tokens in made["input_ids"]]

    def prepare_denoiser(self, denoiser: Any, facts: DiffusersFacts, part: str, request: ModelRequest) -> None:
        """Let it go forward from text alone."""
        denoiser.forward = MethodType(from_text, denoiser)

    def velocity(self, denoiser: nn.Module, noisy_BCTHW: Tensor, timestep_B: Tensor, captions: NamedTensors) -> Tensor:
        """One pass, in which no picture is given: its latents and its mask are zeros."""
        B, C, T, H, W = noisy_BCTHW.shape
        nothing_BCTHW = noisy_BCTHW.new_zeros(B, C + 1, T, H, W)
        drawn_BL = captions[GLYPHS + MASK] & captions[GLYPHS].ne(0.0).any(dim=2)
        velocity_BCTHW: Tensor = denoiser(
            torch.cat([noisy_BCTHW, nothing_BCTHW], dim=1),
            timestep_B,
            (captions[TOKENS], captions[TOKENS + MASK]),
            (captions[GLYPHS], drawn_BL),
        )
        return velocity_BCTHW


def _keeps_the_contract(model: HunyuanVideo15Model) -> ModelPlugin:
    """Read by mypy only."""
    return model
