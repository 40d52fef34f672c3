"""FLUX.2 klein at run time. B batch, C latent channels, T = 1 latent frame, H W latent rows and columns, L tokens, D width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from diffusers import Flux2KleinPipeline
from torch import Tensor, nn

from distill_core.protocols import ModelPlugin, ValidationRequest
from distill_diffusers.caption_model import CaptionModel
from distill_diffusers.captions import TextParts
from distill_diffusers.conditions import TOKENS, CaptionTensors, NamedTensors
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.features import Layers
from distill_diffusers.model_card import PipelineCall
from distill_diffusers.options import FlowOptions
from distill_diffusers.schedule import Schedule
from distill_model_flux.klein.exports import klein_faults
from distill_model_flux.klein.folder import TEXT_LENGTH


class KleinModel(CaptionModel[FlowOptions]):
    """The :class:`distill_core.protocols.ModelPlugin` of FLUX.2 klein."""

    call: ClassVar[PipelineCall] = PipelineCall("flux2", TEXT_LENGTH, fps=1, pictures=True, named_prompt=True)
    # The pipeline packs latents to tokens before its loop, and with them what its scheduler draws.
    schedule: ClassVar[Schedule] = Schedule(asks="sigmas", later_noise="THWC")
    pads_text: ClassVar[bool] = True
    layers: ClassVar[Layers] = Layers(("transformer_blocks", "single_transformer_blocks"), output=1)

    def encode_prompt(self, parts: TextParts, caption: str, length: int) -> CaptionTensors:
        """The caption as a talk with Qwen3, whose padding is attended."""
        tokens_1LD = Flux2KleinPipeline._get_qwen3_prompt_embeds(
            parts["text_encoder"], parts["tokenizer"], caption, device=self.device, max_sequence_length=length
        )
        return {TOKENS: tokens_1LD[0]}

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """The tokens of each caption within the talk."""
        tokenizer = self.captions.tokenizers["tokenizer"]
        talks = [[{"role": "user", "content": caption}] for caption in captions]
        as_text = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        return super().count_tokens([tokenizer.apply_chat_template(talk, **as_text) for talk in talks])

    def encode_pixels(self, vae: Any, pixels_B3FHW: Tensor) -> Tensor:
        """Pixels in [-1, 1] as raw latents [B, C, 1, H, W], of which one is two rows and columns of the VAE's."""
        raw: Tensor = vae.encode(pixels_B3FHW[:, :, 0]).latent_dist.mode()
        patches: Tensor = Flux2KleinPipeline._patchify_latents(raw)
        return patches[:, :, None]

    def decode_raw(self, vae: Any, raw_BCTHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Raw latents as pixels [B, 3, 1, H, W]."""
        pixels: Tensor = vae.decode(Flux2KleinPipeline._unpatchify_latents(raw_BCTHW[:, :, 0]), return_dict=False)[0]
        return pixels[:, :, None]

    def velocity(self, denoiser: nn.Module, noisy_BCTHW: Tensor, timestep_B: Tensor, captions: NamedTensors) -> Tensor:
        """One pass over the latents as tokens."""
        _, _, T, H, W = noisy_BCTHW.shape
        text_BLD, device = captions[TOKENS], noisy_BCTHW.device
        tokens_BLC = denoiser(
            hidden_states=noisy_BCTHW.flatten(2).transpose(1, 2),
            encoder_hidden_states=text_BLD,
            timestep=timestep_B / 1000.0,
            img_ids=_positions((T, H, W, 1), device),
            txt_ids=_positions((1, 1, 1, text_BLD.shape[1]), device),
            return_dict=False,
        )[0]
        velocity_BCTHW: Tensor = tokens_BLC.transpose(1, 2).unflatten(2, (T, H, W))
        return velocity_BCTHW

    def export_faults(self, facts: DiffusersFacts, request: ValidationRequest) -> Iterator[str]:
        """With guidance that the pipeline does not apply."""
        return klein_faults(facts, request, self.sampler.kind(request))


def _positions(sizes: Sequence[int], device: torch.device) -> Tensor:
    """Frame, row, column and word of each token, [L, 4]."""
    return torch.cartesian_prod(*(torch.arange(size, device=device) for size in sizes))


def _keeps_the_contract(model: KleinModel) -> ModelPlugin:
    """Read by mypy only."""
    return model
