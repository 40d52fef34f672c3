"""Wan's operations: how its transformers are called, and how captions are packed for them.

Knows no method, no rollout and no role name. B batch, T latent frames, C channels, H W latent rows and columns, L tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill_core.errors import ConfigError, Problem
from distill_core.protocols import Ask, Condition, Prediction, Prompt, Row
from distill_diffusers.adapter import DiffusersAdapter
from distill_diffusers.captions import CaptionEncoder
from distill_diffusers.codec import VideoCodec
from distill_diffusers.conditions import TOKENS, CaptionTensors
from distill_diffusers.facts import DiffusersFacts
from distill_model_wan.causal.streams import Past, gone_on, own_stream, past_of
from distill_model_wan.experts import HIGH, LOW, by_experts, rows_of_experts
from distill_model_wan.folder import wan_folder
from distill_model_wan.passes import Passes
from distill_model_wan.pictures import PictureEncoder, Pictures, stored
from distill_model_wan.pixels import decoded, encoded
from distill_model_wan.text import TextPacking, WanText

if TYPE_CHECKING:
    from distill_core.protocols.adapter import Modules


class WanAdapter(DiffusersAdapter[WanText]):
    """The :class:`distill_core.protocols.Adapter` of Wan.

    Attributes:
        wan: the facts, as Wan's own.
        packing: how captions are padded.
        pictures: how pictures are encoded.
        passes: what runs a transformer.
    """

    def __init__(
        self,
        facts: DiffusersFacts,
        packing: TextPacking,
        captions: CaptionEncoder,
        codec: VideoCodec,
        pictures: PictureEncoder,
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
        self.wan = wan_folder(facts)
        self.packing = packing
        self.pictures = pictures
        self.passes = Passes(self.wan, packing.device, compute_dtype)

    def pack(self, captions: Sequence[CaptionTensors]) -> WanText:
        """Captions, padded, the padding folded."""
        return self.packing.pack([caption[TOKENS] for caption in captions])

    def mixed(self, condition: Condition, other: WanText, mask_B: Tensor) -> WanText:
        """``other`` where the mask is true, beside the same pictures."""
        mine = _own(condition)
        return replace(self.packing.mixed(mine, other, mask_B), pictures=mine.pictures)

    def prepare_condition(self, rows: Sequence[Row]) -> WanText:
        """The rows' text and, of a model that is shown pictures, what they were encoded to. Raises DataError for rows that do not fit."""
        text = self.pack([{TOKENS: self._trimmed(row)} for row in rows])
        names = [column.name for column in self.facts.columns]
        if not names:
            return text
        shown = tuple(stored(row.id, row.tensors, names) for row in rows)
        return replace(text, pictures=Pictures(shown, self.device, self.normalised))

    def encode_condition(self, prompts: Sequence[Prompt]) -> WanText:
        """Captions through the text encoder, which stays loaded for the next, and pictures.

        Raises ConfigError where a model that is shown pictures gets none, or another one gets some.
        """
        text = self.pack([self._captions(prompt.text) for prompt in prompts])
        return self.pictured(text, prompts)

    def pictured(self, condition: Condition, prompts: Sequence[Prompt]) -> WanText:
        """Captions that are packed, with the pictures of their prompts."""
        text = _own(condition)
        given = [self._given(prompt) for prompt in prompts]
        if not self.facts.pictures:
            return text
        return replace(text, pictures=Pictures(tuple(map(self.pictures.shown, given)), self.device, self.normalised))

    def with_given(self, latents_BTCHW: Tensor, condition: Condition) -> Tensor:
        """The picture in the place of the first frame, where the model has it there: a scheduler's σ is not quite its timestep's."""
        pictures = _own(condition).pictures
        if pictures is None or not self.wan.expand_timesteps:
            return latents_BTCHW
        _, frames, _, rows, columns = latents_BTCHW.shape
        return torch.cat([pictures.latents((frames, rows, columns)), latents_BTCHW[:, 1:]], dim=1)

    def _given(self, prompt: Prompt) -> list[Tensor]:
        """The pictures of a prompt. Raises ConfigError unless they are those that the model is shown."""
        given = {"first_frame": prompt.first_frame, "last_frame": prompt.last_frame}
        pictures = {name: picture for name, picture in given.items() if picture is not None}
        if tuple(pictures) != self.facts.pictures:
            due = " and a ".join(name.replace("_", " ") for name in self.facts.pictures)
            message = f"this model makes videos of a {due}" if due else "this model makes videos from text alone"
            raise ConfigError([Problem("", f"{message}, and is shown {', '.join(pictures) or 'no picture'}")])
        return list(pictures.values())

    def unconditional(self, condition: Condition) -> WanText:
        """The negative prompt for a batch of the same size, beside the same pictures."""
        return replace(super().unconditional(condition), pictures=_own(condition).pictures)

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
