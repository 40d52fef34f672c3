"""Wan's operations: how its transformers are called, and how captions are packed for them.

Knows no method, no rollout and no role name. B batch, T latent frames, C channels, H W latent rows and columns, L tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from distill_core.errors import ConfigError, Problem
from distill_core.protocols import Condition, Prompt, Row
from distill_diffusers.captions import CaptionEncoder
from distill_diffusers.codec import VideoCodec
from distill_diffusers.conditions import TOKENS, CaptionTensors
from distill_diffusers.passes.adapter import PassAdapter
from distill_model_wan.folder import wan_folder
from distill_model_wan.passes import WanPasses
from distill_model_wan.pictures import PictureEncoder, Pictures, stored
from distill_model_wan.pixels import decoded, encoded
from distill_model_wan.plugin import OPERATIONS
from distill_model_wan.text import TextPacking, WanText, own


class WanAdapter(PassAdapter[WanText]):
    """The :class:`distill_core.protocols.Adapter` of Wan.

    Attributes:
        packing: how captions are padded.
        pictures: how pictures are encoded.
    """

    def __init__(
        self,
        passes: WanPasses,
        captions: CaptionEncoder,
        codec: VideoCodec,
        packing: TextPacking,
        pictures: PictureEncoder,
    ) -> None:
        super().__init__(passes, captions, codec)
        self.packing = packing
        self.pictures = pictures

    def pack(self, captions: Sequence[CaptionTensors]) -> WanText:
        """Captions, padded, the padding folded."""
        return self.packing.pack([caption[TOKENS] for caption in captions])

    def mixed(self, condition: Condition, other: WanText, mask_B: Tensor) -> WanText:
        """``other`` where the mask is true, beside the same pictures."""
        mine = own(condition)
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
        text = own(condition)
        given = [self._given(prompt) for prompt in prompts]
        if not self.facts.pictures:
            return text
        return replace(text, pictures=Pictures(tuple(map(self.pictures.shown, given)), self.device, self.normalised))

    def with_given(self, latents_BTCHW: Tensor, condition: Condition) -> Tensor:
        """The picture in the place of the first frame, where the model has it there: a scheduler's σ is not quite its timestep's."""
        pictures = own(condition).pictures
        if pictures is None or not wan_folder(self.facts).expand_timesteps:
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
        return replace(super().unconditional(condition), pictures=own(condition).pictures)

    @property
    def operations(self) -> frozenset[str]:
        """What it offers."""
        return OPERATIONS

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
