"""Wan's operations: how its transformers are called, and how captions are packed for them.

Knows no method, no rollout and no role name. B batch, T latent frames, C channels, H W latent rows and columns, L tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill_core.protocols import Ask, Condition, Prediction
from distill_diffusers.adapter import DiffusersAdapter
from distill_diffusers.captions import CaptionEncoder
from distill_diffusers.codec import VideoCodec
from distill_diffusers.conditions import TOKENS, CaptionTensors
from distill_diffusers.facts import DiffusersFacts
from distill_model_wan.causal.streams import Past, gone_on, own_stream, past_of
from distill_model_wan.experts import HIGH, LOW, by_experts, rows_of_experts
from distill_model_wan.passes import Passes
from distill_model_wan.pixels import decoded, encoded
from distill_model_wan.text import TextPacking, WanText

if TYPE_CHECKING:
    from distill_core.protocols.adapter import Modules


class WanAdapter(DiffusersAdapter[WanText]):
    """The :class:`distill_core.protocols.Adapter` of Wan.

    Attributes:
        packing: how captions are padded.
        passes: what runs a transformer.
    """

    def __init__(
        self,
        facts: DiffusersFacts,
        packing: TextPacking,
        captions: CaptionEncoder,
        codec: VideoCodec,
        *,
        negative_prompt: str,
        compute_dtype: torch.dtype,
    ) -> None:
        super().__init__(
            facts,
            captions,
            codec,
            negative_prompt=negative_prompt,
            compute_dtype=compute_dtype,
            device=packing.device,
        )
        self.packing = packing
        self.passes = Passes(facts, packing.device, compute_dtype)

    def pack(self, captions: Sequence[CaptionTensors]) -> WanText:
        """Captions, padded, the padding folded."""
        return self.packing.pack([caption[TOKENS] for caption in captions])

    def mixed(self, condition: Condition, other: WanText, mask_B: Tensor) -> WanText:
        """``other`` where the mask is true."""
        return self.packing.mixed(_own(condition), other, mask_B)

    # Predictions

    def velocity(
        self, denoiser: nn.Module, noisy_BTCHW: Tensor, timestep_B: Tensor, condition: Condition, ask: Ask
    ) -> Tensor:
        """One plain pass."""
        return self.passes.run(denoiser, noisy_BTCHW, timestep_B, _own(condition), ask, Past()).velocity

    def predict(
        self, modules: Modules, noisy_BTCHW: Tensor, timestep: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        """v ≈ ε - x0, float32 [B, T, C, H, W], and whatever else is asked for. Of two experts, each sample is predicted by the one that its
        timestep belongs to, and a stream remembers what each of them makes of the frames."""
        if not ask.parts and timestep.ndim == 1:
            return super().predict(modules, noisy_BTCHW, timestep, condition, ask)
        text, first = _own(condition), modules[HIGH]
        grid = self.passes.grid(noisy_BTCHW.shape)
        stream = own_stream(ask.stream, first, len(noisy_BTCHW), grid[1:])
        if LOW not in modules:
            outcome = self.passes.run(first, noisy_BTCHW, timestep, text, ask, past_of(stream, HIGH))
            segments = {} if outcome.segment is None else {HIGH: outcome.segment}
        else:
            rows = rows_of_experts(timestep, self.boundaries[first])
            outcome, segments = by_experts(self.passes, modules, noisy_BTCHW, timestep, text, ask, stream, rows)
        stored = gone_on(stream, first, len(text), grid, segments, ask.window, ask.sink) if ask.store else None
        return Prediction(outcome.velocity, outcome.features, outcome.derivative, stored)

    # Pixels

    def decode_pixels(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as float32 frames [B, F, 3, H', W'] in [0, 1], with the graph; frame by frame, made anew in backward."""
        raw_BCTHW = self.raw(latents_BTCHW).transpose(1, 2)
        return torch.stack([decoded(self._codec.vae, raw_1CTHW) for raw_1CTHW in raw_BCTHW.split(1)])

    def encode_pixels(self, pixels_BFCHW: Tensor) -> Tensor:
        """float frames [B, F, 3, H', W'] in [0, 1] as normalised float32 latents [B, T, C, H, W], with the graph; likewise.

        Raises DataError for a size that makes no whole latent.
        """
        frames, _, height, width = pixels_BFCHW.shape[1:]
        self._codec.refuse_misfit(frames, height, width)
        stride = self.facts.latent_space.temporal_stride
        videos = pixels_BFCHW.to(self.device, torch.float32)
        raw_BCTHW = torch.cat([encoded(self._codec.vae, pixels_F3HW, stride) for pixels_F3HW in videos])
        return self.normalised(raw_BCTHW.transpose(1, 2))


def _own(text: Condition) -> WanText:
    assert isinstance(text, WanText), f"a Wan model is conditioned on WanText, got {type(text).__name__}"
    return text
