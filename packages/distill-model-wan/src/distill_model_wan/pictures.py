"""What an image-to-video Wan is shown: pictures through the VAE as the video that they begin (and end), and through CLIP as features.

A member of Wan takes them in one of two ways. Most take the latents of a video that is grey but for the pictures, beside the noisy ones,
with a mask of the frames that are given. Wan 2.2 TI2V takes the first latent frame in the noisy one's place, at timestep 0.

T latent frames, C channels, H W latent rows and columns, N tokens of D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distill_core import flow
from distill_core.errors import DataError
from distill_core.transfer import to_device
from distill_diffusers.codec import VideoCodec
from distill_diffusers.loading import load_image_processor, load_part
from distill_model_wan.folder import FEATURES, LATENT, MASK_CHANNELS, WanFolder

LatentSize = tuple[int, int, int]
"""T, H and W of a sample."""

CLIP_LAYER = -2
"""The hidden state of CLIP that Wan attends (diffusers' WanImageToVideoPipeline)."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What one sample is shown.

    Attributes:
        latents: of a size, the raw latents [T, C, H, W] of the video that is grey but for the pictures; [1, C, H, W] of the first frame
            for a member that takes no more.
        features_ND: of the pictures, for a member that attends them; float32 on the CPU, like the latents.
    """

    latents: Callable[[LatentSize], Tensor]
    features_ND: Tensor | None = None


def stored(row: str, tensors: Mapping[str, Tensor], columns: Sequence[str]) -> Shown:
    """What a row of the data was encoded with. Its latents are cut as the row's are, which the model sees no further than."""
    latents_TCHW = tensors[LATENT].float().transpose(0, 1)

    def of_size(size: LatentSize) -> Tensor:
        """As many frames as the sample has."""
        frames, given = size[0], len(latents_TCHW)
        if latents_TCHW.shape[2:] != size[1:] or given not in (1, frames):
            raise DataError(
                f"row {row}: its {LATENT} is of {list(latents_TCHW.shape)}, the sample has T, H, W = {size}; encode it anew at that size"
            )
        return latents_TCHW

    return Shown(of_size, tensors[FEATURES].float() if FEATURES in columns else None)


class PictureEncoder:
    """Pictures as a folder's VAE and CLIP have them, encoded as diffusers' WanImageToVideoPipeline does."""

    def __init__(self, facts: WanFolder, codec: VideoCodec, device: torch.device) -> None:
        self.facts = facts
        self.codec = codec
        self.device = device

    @cached_property
    def clip(self) -> tuple[Any, Any]:
        """The image processor and CLIP, in float32 on the device. ``Any``: the classes of transformers have no common type."""
        encoder = load_part(self.facts, "image_encoder", torch.float32).to(self.device).eval().requires_grad_(False)
        return load_image_processor(self.facts), encoder

    def shown(self, pictures: Sequence[Tensor]) -> Shown:
        """Pictures, uint8 [H, W, 3] each of any size: the first frame and, of a member that takes one, the last."""
        kept: dict[LatentSize, Tensor] = {}

        def of_size(size: LatentSize) -> Tensor:
            """Encoded at its first use."""
            if size not in kept:
                kept[size] = self._latents(pictures, size)
            return kept[size]

        return Shown(of_size, self.features(pictures) if self.facts.image_tokens else None)

    def columns(self, pictures: Sequence[Tensor], size_FHW: tuple[int, int, int]) -> Mapping[str, Tensor]:
        """The columns of a clip of so many pixels that is made of these pictures."""
        space = self.facts.latent_space
        frames, height, width = size_FHW
        latent_frames = space.latent_frames(frames)
        assert latent_frames is not None, "the encoder has refused such a clip"
        size = (latent_frames, height // space.spatial_stride, width // space.spatial_stride)
        found = {LATENT: self._latents(pictures, size).transpose(0, 1)}
        return found | ({FEATURES: self.features(pictures)} if self.facts.image_tokens else {})

    @torch.no_grad()
    def features(self, pictures: Sequence[Tensor]) -> Tensor:
        """What the transformer attends of pictures, float32 [N, D] on the CPU, one picture's tokens after another's."""
        processor, encoder = self.clip
        images = [Image.fromarray(picture.numpy()) for picture in pictures]
        inputs = processor(images=images, return_tensors="pt").to(self.device)
        hidden_PND: Tensor = encoder(**inputs, output_hidden_states=True).hidden_states[CLIP_LAYER]
        return hidden_PND.flatten(0, 1).float().cpu()

    @torch.no_grad()
    def _latents(self, pictures: Sequence[Tensor], size: LatentSize) -> Tensor:
        """Raw latents [T, C, H, W] on the CPU, or of the first frame alone."""
        space = self.facts.latent_space
        frames, height, width = space.pixels((size[0], space.channels, *size[1:]))
        scaled = [_scaled(picture, height, width) for picture in pictures]
        if self.facts.expand_timesteps:
            video_3FHW = scaled[0][:, None]
        else:
            video_3FHW = torch.zeros(3, frames, height, width)
            video_3FHW[:, 0] = scaled[0]
            if len(scaled) > 1:
                video_3FHW[:, -1] = scaled[1]
        return self.codec.encode_pixels(video_3FHW[None])[0].transpose(0, 1)


def _scaled(picture_HW3: Tensor, height: int, width: int) -> Tensor:
    """A picture in [-1, 1] at a size, [3, H, W], scaled as diffusers' VideoProcessor scales."""
    image = Image.fromarray(picture_HW3.numpy())
    if image.size != (width, height):
        image = image.resize((width, height), resample=Image.Resampling.LANCZOS)
    pixels_HW3 = torch.from_numpy(np.array(image).astype(np.float32) / 255.0)
    return 2.0 * pixels_HW3.permute(2, 0, 1) - 1.0


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a batch is shown.

    Attributes:
        each: one for each sample.
        device: where predictions are made.
        normalised: what makes raw latents [B, T, C, H, W] such as the noisy ones are.
    """

    each: tuple[Shown, ...]
    device: torch.device
    normalised: Callable[[Tensor], Tensor]
    _stacked: dict[LatentSize, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        """The batch size B."""
        return len(self.each)

    def select(self, rows: Tensor) -> Pictures:
        """Those at ``rows`` (indices)."""
        return Pictures(tuple(self.each[row] for row in rows.tolist()), self.device, self.normalised)

    def repeated(self, size: int) -> Pictures:
        """Those of one sample as a batch of ``size``."""
        return Pictures(self.each * size, self.device, self.normalised)

    def latents(self, size: LatentSize) -> Tensor:
        """Normalised latents [B, T, C, H, W] of samples of a size, or [B, 1, C, H, W], float32 on the device; copied there once."""
        if size not in self._stacked:
            raw_BTCHW = to_device(torch.stack([shown.latents(size) for shown in self.each]), self.device)
            self._stacked[size] = self.normalised(raw_BTCHW)
        return self._stacked[size]

    @cached_property
    def features(self) -> Tensor | None:
        """The pictures' features [B, N, D] on the device, where the transformer attends them."""
        found = [shown.features_ND for shown in self.each if shown.features_ND is not None]
        return to_device(torch.stack(found), self.device) if found else None


@dataclass(frozen=True)
class Input:
    """What a transformer is given of a prediction.

    Attributes:
        latents_BTCHW: noisy latents, and what it is shown beside them.
        timestep: [B], or [B, T].
        until: the second time, of the same shape, or None.
        velocity_BTCHW: of the frames that are given, which are predicted as they are: x0 = x_t - σ v is the picture.
    """

    latents_BTCHW: Tensor
    timestep: Tensor
    until: Tensor | None
    velocity_BTCHW: Tensor | None = None


def beside(noisy_BTCHW: Tensor, timestep: Tensor, until: Tensor | None, pictures: Pictures, shown: int) -> Input:
    """Noisy latents with the mask of the frames that are given, and with the latents of the ``shown`` pictures' video.

    Of each latent frame the mask has as many channels as it stands for frames; the first stands for the first alone, which counts as often.
    """
    batch, frames, _, rows, columns = noisy_BTCHW.shape
    given_BTCHW = pictures.latents((frames, rows, columns)).to(noisy_BTCHW.dtype)
    mask_BTCHW = noisy_BTCHW.new_zeros(batch, frames, MASK_CHANNELS, rows, columns)
    mask_BTCHW[:, 0] = 1.0
    if shown > 1:
        mask_BTCHW[:, -1, -1] = 1.0
    return Input(torch.cat([noisy_BTCHW, mask_BTCHW, given_BTCHW], dim=2), timestep, until)


def in_place(noisy_BTCHW: Tensor, timestep: Tensor, until: Tensor | None, pictures: Pictures) -> Input:
    """Noisy latents whose first frame is the picture, at timestep 0."""
    _, frames, _, rows, columns = noisy_BTCHW.shape
    given_B1CHW = pictures.latents((frames, rows, columns)).to(noisy_BTCHW.dtype)
    timestep_BT = _of_frames(timestep, frames)
    until_BT = None if until is None else _clean_first(_of_frames(until, frames))
    sigma_B1 = timestep_BT[:, :1].to(noisy_BTCHW) / flow.TRAIN_TIMESTEPS
    sigma = sigma_B1[..., None, None, None]
    apart = noisy_BTCHW[:, :1] - given_B1CHW
    velocity = torch.where(sigma > 0, apart / sigma.where(sigma > 0, 1.0), torch.zeros_like(apart))
    latents_BTCHW = torch.cat([given_B1CHW, noisy_BTCHW[:, 1:]], dim=1)
    return Input(latents_BTCHW, _clean_first(timestep_BT), until_BT, velocity)


def _of_frames(timestep: Tensor, frames: int) -> Tensor:
    """[B] as [B, T]."""
    return timestep if timestep.ndim == 2 else timestep[:, None].expand(-1, frames)


def _clean_first(timestep_BT: Tensor) -> Tensor:
    """The same, but for the first frame's, which is 0."""
    return torch.cat([torch.zeros_like(timestep_BT[:, :1]), timestep_BT[:, 1:]], dim=1)
