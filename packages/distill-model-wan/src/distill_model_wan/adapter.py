"""Wan's operations. The one place where latents change between the core's layout [B, T, C, H, W] and Wan's [B, C, T, H, W].

Knows no method, no rollout and no role name. B batch, T latent frames, C channels, H W latent rows and columns, L tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from distill_core.errors import ConfigError, DataError, Problem
from distill_core.protocols import Batch, Condition, Row
from distill_core.transfer import to_device
from distill_diffusers.kept_captions import KeptCaptions
from distill_model_wan import flow
from distill_model_wan.attention import AttentionCall, attention_call
from distill_model_wan.encoders import CaptionEncoder, VideoCodec
from distill_model_wan.folder import WanFolder
from distill_model_wan.text import TextPacking, WanText
from distill_model_wan.vsa.attend import SparseCall
from distill_model_wan.vsa.engines import Engine

if TYPE_CHECKING:
    from distill_core.protocols.adapter import Modules


CAPTIONS_AT_ONCE = 64
"""Captions that are encoded while the text encoder is loaded, of those that will be asked for again."""


class Attention(NamedTuple):
    """How a prediction is to attend."""

    kind: str
    sparsity: float


class WanAdapter:
    """The :class:`distill_core.protocols.Adapter` of Wan.

    Attributes:
        folder: the folder that lends text encoder and VAE; it fixes the latent space.
        packing: how captions are padded.
        flow_shift: the run's one flow shift.
        compute_dtype: the dtype of a forward pass; everything outside it is float32 or float64.
        boundaries: of each role's first expert, the boundary ratio of its folder. By module, because members of the family that
            share a latent space may meet in one run, with experts and without.
        engines: of each transformer that has gates for it, what computes its sparse attention.
    """

    def __init__(
        self,
        folder: WanFolder,
        packing: TextPacking,
        flow_shift: float,
        captions: CaptionEncoder,
        codec: VideoCodec,
        *,
        negative_prompt: str,
        compute_dtype: torch.dtype,
    ) -> None:
        self.folder = folder
        self.packing = packing
        self.flow_shift = flow_shift
        self.compute_dtype = compute_dtype
        self.boundaries: WeakKeyDictionary[nn.Module, float] = WeakKeyDictionary()
        self.engines: WeakKeyDictionary[nn.Module, Engine] = WeakKeyDictionary()
        self._captions = captions
        self._kept_captions = KeptCaptions(captions, foreseen=(negative_prompt, ""))
        self._codec = codec
        self._negative_prompt = negative_prompt
        self._device = packing.device
        statistics = torch.tensor([folder.latent_space.mean, folder.latent_space.std], device=self._device)
        self._mean_C11, self._std_C11 = statistics.view(2, -1, 1, 1)

    # Data and conditions

    def prepare_batch(self, rows: Sequence[Row], latent_shape: tuple[int, int, int, int]) -> Batch:
        """Rows as normalised float32 latents [B, T, C, H, W] (None if all are captions alone) and packed text, on the device.

        Latents longer than ``latent_shape`` keep their first T frames. Raises DataError for rows that do not fit.
        """
        text = self.packing.pack([self._trimmed(row) for row in rows])
        latents_CTHW = [row.latent_CTHW for row in rows if row.latent_CTHW is not None]
        if not latents_CTHW:
            return Batch(text, latent_shape)
        if len(latents_CTHW) < len(rows):
            bare = next(row.id for row in rows if row.latent_CTHW is None)
            raise DataError(f"row {bare} has no latent and others of its batch have one; use data sets of one kind")
        frames = [_cut(row.id, latent, latent_shape) for row, latent in zip(rows, latents_CTHW, strict=True)]
        return Batch(text, latent_shape, self._normalised(to_device(torch.stack(frames), self._device)))

    def _trimmed(self, row: Row) -> Tensor:
        """A row's text without padding that was stored with it."""
        tokens, width = row.text_LD.shape
        if width != self.folder.text_width:
            raise DataError(
                f"row {row.id}: its text has {width} features, the model takes {self.folder.text_width}; encode it anew"
            )
        filled = row.text_LD.ne(0).any(dim=1).nonzero()
        tokens = int(filled[-1]) + 1 if len(filled) else 0
        if tokens > self.packing.length:
            raise DataError(
                f"row {row.id}: its text has {tokens} tokens, the model attends {self.packing.length}; "
                f"encode it anew with `distill data encode --text-length {self.packing.length}`"
            )
        return row.text_LD[:tokens]

    def _normalised(self, raw_BCTHW: Tensor) -> Tensor:
        """(z - mean) / std per channel, as [B, T, C, H, W]."""
        normalised_BTCHW: Tensor = (raw_BCTHW.float().transpose(1, 2) - self._mean_C11) / self._std_C11
        return normalised_BTCHW

    def encode_text(self, captions: Sequence[str]) -> WanText:
        """Captions through UMT5, which stays loaded for the next."""
        return self.packing.pack([self._captions(caption) for caption in captions])

    def kept_texts(self, captions: Sequence[str]) -> Iterator[WanText]:
        """Captions that will be asked for again, each by itself: encoded once, then kept; UMT5 is let go."""
        for start in range(0, len(captions), CAPTIONS_AT_ONCE):
            for embeds_LD in self._kept_captions(captions[start : start + CAPTIONS_AT_ONCE]):
                yield self.packing.pack([embeds_LD])

    def negative_text(self, size: int) -> WanText:
        """The negative prompt for a batch of ``size``; encoded at the first call, then kept."""
        return self._negative.repeated(size)

    def drop_captions(self, text: Condition, dropped_B: Tensor) -> WanText:
        """The empty caption where the mask is true; encoded at the first call, then kept."""
        return self.packing.mixed(_own(text), self._empty, dropped_B)

    @cached_property
    def _negative(self) -> WanText:
        return next(self.kept_texts([self._negative_prompt]))

    @cached_property
    def _empty(self) -> WanText:
        return next(self.kept_texts([""]))

    # Flow

    def add_noise(self, clean_BTCHW: Tensor, noise_BTCHW: Tensor, timestep_B: Tensor) -> Tensor:
        """x_t = (1 - σ) x0 + σ ε, with σ = t / 1000."""
        return flow.add_noise(clean_BTCHW, noise_BTCHW, timestep_B)

    def shift_timestep(self, timestep_B: Tensor) -> Tensor:
        """t' = 1000 s u / (1 + (s - 1) u) with u = t / 1000, float64."""
        return flow.shift_timestep(timestep_B, self.flow_shift)

    # Predictions

    def predict_velocity(
        self,
        modules: Modules,
        noisy_BTCHW: Tensor,
        timestep_B: Tensor,
        text: Condition,
        *,
        attn_kind: str = "dense",
        sparsity: float = 0.0,
    ) -> Tensor:
        """v ≈ ε - x0, float32 [B, T, C, H, W]. Of two experts, each sample is predicted by the one that its timestep belongs to."""
        attention = Attention(attn_kind, sparsity)
        if "transformer_2" not in modules:
            return self._forward(modules["transformer"], noisy_BTCHW, timestep_B, _own(text), attention)
        high_B = timestep_B >= self.boundaries[modules["transformer"]] * flow.TRAIN_TIMESTEPS
        rows = {"transformer": high_B.nonzero()[:, 0], "transformer_2": (~high_B).nonzero()[:, 0]}
        velocities = [
            self._forward(modules[name], noisy_BTCHW[own], timestep_B[own], _own(text).select(own), attention)
            for name, own in rows.items()
            if len(own)
        ]
        return torch.cat(velocities)[torch.cat(list(rows.values())).argsort()]

    def predict_x0(
        self,
        modules: Modules,
        noisy_BTCHW: Tensor,
        timestep_B: Tensor,
        text: Condition,
        *,
        attn_kind: str = "dense",
        sparsity: float = 0.0,
    ) -> Tensor:
        """x̂0 = x_t - σ v, float32 [B, T, C, H, W]."""
        velocity_BTCHW = self.predict_velocity(
            modules, noisy_BTCHW, timestep_B, text, attn_kind=attn_kind, sparsity=sparsity
        )
        return flow.x0_of(noisy_BTCHW, velocity_BTCHW, timestep_B)

    def _forward(
        self, transformer: nn.Module, noisy_BTCHW: Tensor, timestep_B: Tensor, text: WanText, attention: Attention
    ) -> Tensor:
        """One pass. A TI2V transformer, which takes a timestep per token, is given one per sample too: text-to-video has all of a
        sample's tokens at one timestep, and the time embedding of [B] instead of [B, tokens] spares gigabytes at full size."""
        noisy_BCTHW, timestep_B = noisy_BTCHW.transpose(1, 2), timestep_B.to(noisy_BTCHW.device, torch.float32)
        call = AttentionCall(text.pad_bias_L, self._sparse(transformer, noisy_BCTHW.shape, attention))
        with self._precision(), attention_call(call):
            velocity_BCTHW: Tensor = transformer(noisy_BCTHW, timestep_B, text.embeds_BLD, return_dict=False)[0]
        return velocity_BCTHW.to(noisy_BTCHW.dtype).transpose(1, 2)

    def _sparse(self, transformer: nn.Module, shape_BCTHW: Sequence[int], attention: Attention) -> SparseCall | None:
        """What self-attention leaves out. Raises ConfigError for attention that the transformer was not loaded for."""
        if attention.kind == "dense":
            return None
        if attention.kind != "vsa" or transformer not in self.engines:
            message = f"is {attention.kind!r}, and this role was loaded for dense attention; set attn_kind: dense"
            raise ConfigError([Problem("method_config.attn_kind", message)])
        _, _, frames, rows, columns = shape_BCTHW
        temporal, vertical, horizontal = self.folder.patch
        grid = (frames // temporal, rows // vertical, columns // horizontal)
        return SparseCall(grid, attention.sparsity, self.engines[transformer])

    def _precision(self) -> torch.autocast:
        lower = self.compute_dtype in (torch.bfloat16, torch.float16)
        return torch.autocast(self._device.type, dtype=self.compute_dtype if lower else None, enabled=lower)

    # Pixels

    def decode_latents(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as uint8 frames [B, F, H, W, 3] on the device."""
        # Divided by 1/std rather than multiplied by std, as WanPipeline does: the last bit is the same as there.
        raw_BTCHW = latents_BTCHW.to(self._device).float() / (1.0 / self._std_C11) + self._mean_C11
        return torch.stack([self._codec.decode(raw_TCHW.transpose(0, 1)) for raw_TCHW in raw_BTCHW])


def _own(text: Condition) -> WanText:
    assert isinstance(text, WanText), f"a Wan model is conditioned on WanText, got {type(text).__name__}"
    return text


def _cut(row_id: str, latent_CTHW: Tensor, latent_shape: tuple[int, int, int, int]) -> Tensor:
    """The first T frames of a raw latent. Raises DataError if it is no [C, >= T, H, W]."""
    frames, channels, height, width = latent_shape
    if latent_CTHW.ndim != 4 or latent_CTHW.shape[0] != channels or tuple(latent_CTHW.shape[2:]) != (height, width):
        expected = f"[{channels}, {frames} or more, {height}, {width}]"
        raise DataError(f"row {row_id}: its latent has the shape {list(latent_CTHW.shape)}, this run needs {expected}")
    if latent_CTHW.shape[1] < frames:
        raise DataError(
            f"row {row_id}: its latent has {latent_CTHW.shape[1]} frames, this run needs {frames}; "
            f"set data.num_latent_t to the shortest clip's or leave the clip out"
        )
    return latent_CTHW[:, :frames]
