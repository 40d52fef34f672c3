"""Stable Diffusion 3 at run time. B batch, C latent channels, T = 1 latent frame, H W latent rows and columns, L tokens, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from diffusers import StableDiffusion3Pipeline
from torch import Tensor, nn

from distill_core.errors import ModelFolderError
from distill_core.plugins import ModelFacts
from distill_core.protocols import ModelPlugin
from distill_diffusers.caption_model import CaptionModel
from distill_diffusers.captions import TextParts
from distill_diffusers.clip_text import POOLED
from distill_diffusers.conditions import TOKENS, CaptionTensors, NamedTensors
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.features import Layers
from distill_diffusers.model_card import PipelineCall
from distill_diffusers.options import FlowOptions
from distill_model_sd3.folder import CLIP_LENGTH, T5_LENGTH


class Sd3Model(CaptionModel[FlowOptions]):
    """The :class:`distill_core.protocols.ModelPlugin` of Stable Diffusion 3."""

    # The card says T5's length by card_arguments: the pipeline counts no CLIP.
    call: ClassVar[PipelineCall] = PipelineCall("sd3", CLIP_LENGTH + T5_LENGTH, fps=1, pictures=True)
    pads_text: ClassVar[bool] = True
    layers: ClassVar[Layers] = Layers(output=1)
    picture_vae: ClassVar[bool] = True

    def settled(self, facts: ModelFacts, options: FlowOptions) -> DiffusersFacts:
        """A folder's facts under the run's options. Raises ModelFolderError for a text length that leaves T5 nothing."""
        known = super().settled(facts, options)
        if known.text_length <= CLIP_LENGTH:
            raise ModelFolderError(
                f"a text length of {known.text_length} leaves T5 no token beside CLIP's {CLIP_LENGTH}; "
                f"set pipeline_config.text_length to {CLIP_LENGTH} + T5's, e.g. {CLIP_LENGTH + T5_LENGTH}"
            )
        return known

    def encode_prompt(self, parts: TextParts, caption: str, length: int) -> CaptionTensors:
        """The caption through both CLIPs, then T5, whose paddings are attended; and as one vector of the CLIPs."""
        pipeline = StableDiffusion3Pipeline(scheduler=None, vae=None, transformer=None, **parts)
        tokens_1LD, _, pooled_1D, _ = pipeline.encode_prompt(
            caption,
            None,
            None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=length - CLIP_LENGTH,
        )
        return {TOKENS: tokens_1LD[0], POOLED: pooled_1D[0]}

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """T5's tokens of each caption, beside those of CLIP."""
        return [CLIP_LENGTH + count for count in super().count_tokens(captions)]

    def card_arguments(self) -> Mapping[str, object]:
        """T5's length, where it is not the pipeline's own."""
        length = self.facts.text_length - CLIP_LENGTH
        return {} if length == T5_LENGTH else {"max_sequence_length": length}

    def velocity(self, denoiser: nn.Module, noisy_BCTHW: Tensor, timestep_B: Tensor, captions: NamedTensors) -> Tensor:
        """One pass."""
        velocity_BCHW: Tensor = denoiser(
            hidden_states=noisy_BCTHW[:, :, 0],
            timestep=timestep_B,
            encoder_hidden_states=captions[TOKENS],
            pooled_projections=captions[POOLED],
            return_dict=False,
        )[0]
        return velocity_BCHW[:, :, None]


def _keeps_the_contract(model: Sd3Model) -> ModelPlugin:
    """Read by mypy only."""
    return model
