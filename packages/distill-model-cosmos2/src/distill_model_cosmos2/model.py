"""Cosmos-Predict2 at run time. B batch, C latent channels, T = 1 latent frame, H W latent rows and columns, L tokens, D width."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from distill_core.protocols import ModelPlugin, ValidationRequest
from distill_diffusers.caption_model import CaptionModel
from distill_diffusers.captions import TextParts
from distill_diffusers.conditions import TOKENS, CaptionTensors, NamedTensors
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.features import Layers
from distill_diffusers.model_card import PipelineCall
from distill_diffusers.options import FlowOptions
from distill_model_cosmos2.folder import TEXT_LENGTH
from distill_model_cosmos2.noise import CosmosSteps, cosmos_faults


class Cosmos2Model(CaptionModel[FlowOptions]):
    """The :class:`distill_core.protocols.ModelPlugin` of Cosmos-Predict2."""

    call: ClassVar[PipelineCall] = PipelineCall(
        "cosmos2", TEXT_LENGTH, fps=1, guidance_offset=1.0, needs_negative=True, pictures=True
    )
    pads_text: ClassVar[bool] = True
    layers: ClassVar[Layers] = Layers()
    float32: ClassVar[frozenset[str]] = frozenset({"learnable_pos_embed"})

    def make_own_steps(self) -> CosmosSteps:
        """The pipeline's."""
        return CosmosSteps(self.facts)

    def encode_prompt(self, parts: TextParts, caption: str, length: int) -> CaptionTensors:
        """The caption through T5, padded, and its own tokens; by itself, because the pipeline is not made without its guardrail."""
        found = parts["tokenizer"](
            [caption], truncation=True, padding="max_length", max_length=length, return_tensors="pt"
        ).to(self.device)
        mask_1L = found.attention_mask.bool()
        tokens_1LD: Tensor = parts["text_encoder"](found.input_ids, attention_mask=mask_1L).last_hidden_state
        return {TOKENS: tokens_1LD[0][mask_1L[0]]}

    def velocity(self, denoiser: nn.Module, noisy_BCTHW: Tensor, timestep_B: Tensor, captions: NamedTensors) -> Tensor:
        """One pass; nothing of a picture is padding."""
        stride = self.facts.latent_space.spatial_stride
        rows, columns = (size * stride for size in noisy_BCTHW.shape[3:])
        velocity_BCTHW: Tensor = denoiser(
            hidden_states=noisy_BCTHW,
            timestep=timestep_B / 1000.0,
            encoder_hidden_states=captions[TOKENS],
            padding_mask=noisy_BCTHW.new_zeros(1, 1, rows, columns),
            return_dict=False,
        )[0]
        return velocity_BCTHW

    def export_faults(self, facts: DiffusersFacts, request: ValidationRequest) -> Iterator[str]:
        """With a guidance that the pipeline takes for none."""
        return cosmos_faults(facts, request, self.sampler.kind(request))


def _keeps_the_contract(model: Cosmos2Model) -> ModelPlugin:
    """Read by mypy only."""
    return model
