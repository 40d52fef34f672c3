"""Sana at run time. B batch, C latent channels, T = 1 latent frame, H W latent rows and columns, L tokens, D width."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any, ClassVar

from diffusers import SanaPipeline
from torch import Tensor

from distill_core.protocols import ModelPlugin
from distill_diffusers.caption_model import CaptionModel
from distill_diffusers.captions import TextParts
from distill_diffusers.conditions import TOKENS, CaptionTensors, NamedTensors
from distill_diffusers.features import Layers
from distill_diffusers.model_card import PipelineCall
from distill_diffusers.options import FlowOptions
from distill_model_sana.folder import TEXT_LENGTH

INSTRUCTION = signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
"""What the pipeline puts before every prompt, and before no negative prompt."""


class SanaModel(CaptionModel[FlowOptions]):
    """The :class:`distill_core.protocols.ModelPlugin` of Sana."""

    # Without it, the pipeline makes another size than was asked for, and cuts that.
    call: ClassVar[PipelineCall] = PipelineCall(
        "sana", TEXT_LENGTH, fps=1, arguments={"use_resolution_binning": False}, pictures=True
    )
    pads_text: ClassVar[bool] = False
    layers: ClassVar[Layers] = Layers()
    picture_vae: ClassVar[bool] = True

    def cleaned(self, caption: str) -> str:
        """As the pipeline does."""
        return caption.lower().strip()

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """The tokens of each caption, and the first of the instruction, which the pipeline keeps."""
        counted = super().count_tokens(captions)
        return [count + self._instructed(caption) for count, caption in zip(counted, captions, strict=True)]

    def _instructed(self, caption: str) -> bool:
        """Whether the instruction stands before it."""
        return caption not in ("", self.facts.negative_prompt)

    def encode_prompt(self, parts: TextParts, caption: str, length: int) -> CaptionTensors:
        """The caption behind the pipeline's instruction; the negative prompt and the empty caption without it, as there."""
        pipeline = SanaPipeline(scheduler=None, vae=None, transformer=None, **parts)
        tokens_1LD, mask_1L, _, _ = pipeline.encode_prompt(
            caption,
            do_classifier_free_guidance=False,
            device=self.device,
            max_sequence_length=length,
            complex_human_instruction=INSTRUCTION if self._instructed(caption) else None,
        )
        return {TOKENS: tokens_1LD[0][mask_1L[0].bool()]}

    def encode_pixels(self, vae: Any, pixels_B3FHW: Tensor) -> Tensor:
        """Pictures as raw latents: AutoencoderDC has no posterior."""
        raw_BCHW: Tensor = vae.encode(pixels_B3FHW[:, :, 0]).latent
        return raw_BCHW[:, :, None]

    def velocity(self, denoiser: Any, noisy_BCTHW: Tensor, timestep_B: Tensor, captions: NamedTensors) -> Tensor:
        """One pass; a variance that some members predict besides is left out."""
        found_BCHW: Tensor = denoiser(
            noisy_BCTHW[:, :, 0],
            encoder_hidden_states=captions[TOKENS],
            encoder_attention_mask=captions[f"{TOKENS}_mask"],
            timestep=timestep_B * denoiser.config.timestep_scale,
            return_dict=False,
        )[0]
        return found_BCHW[:, : noisy_BCTHW.shape[1], None]


def _keeps_the_contract(model: SanaModel) -> ModelPlugin:
    """Read by mypy only."""
    return model
