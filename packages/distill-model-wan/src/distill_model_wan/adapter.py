"""Wan's operations. The one place where latents change between the core's layout [B, T, C, H, W] and Wan's [B, C, T, H, W].

Knows no method, no rollout and no role name. B batch, T latent frames, C channels, H W latent rows and columns, L tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from distill_core import flow
from distill_core.errors import ConfigError, DataError, Problem
from distill_core.protocols import Ask, Condition, Prediction, Prompt, Row
from distill_diffusers.kept_captions import KeptCaptions
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


class WanAdapter:
    """The :class:`distill_core.protocols.Adapter` of Wan.

    Attributes:
        folder: the folder that lends text encoder and VAE; it fixes the latent space.
        packing: how captions are padded.
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
        self._flow_shift = flow_shift
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

    # Conditions

    def prepare_condition(self, rows: Sequence[Row]) -> WanText:
        """The rows' text, packed, on the device. Raises DataError for rows that do not fit."""
        return self.packing.pack([self._trimmed(row) for row in rows])

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

    def encode_condition(self, prompts: Sequence[Prompt]) -> WanText:
        """Captions through UMT5, which stays loaded for the next. Raises ConfigError for pictures, which no member here takes."""
        if any(prompt.first_frame is not None or prompt.last_frame is not None for prompt in prompts):
            raise ConfigError([Problem("", "this model makes videos from text alone; leave the pictures out")])
        return self.packing.pack([self._captions(prompt.text) for prompt in prompts])

    def kept_texts(self, captions: Sequence[str]) -> Iterator[WanText]:
        """Captions that will be asked for again, each by itself: encoded once, then kept; UMT5 is let go."""
        for start in range(0, len(captions), CAPTIONS_AT_ONCE):
            for embeds_LD in self._kept_captions(captions[start : start + CAPTIONS_AT_ONCE]):
                yield self.packing.pack([embeds_LD])

    def unconditional(self, condition: Condition) -> WanText:
        """The negative prompt for a batch of the same size; encoded at the first call, then kept."""
        return self._negative.repeated(len(condition))

    def drop_condition(self, condition: Condition, dropped_B: Tensor) -> WanText:
        """The empty caption where the mask is true; encoded at the first call, then kept."""
        return self.packing.mixed(_own(condition), self._empty, dropped_B)

    @cached_property
    def _negative(self) -> WanText:
        return next(self.kept_texts([self._negative_prompt]))

    @cached_property
    def _empty(self) -> WanText:
        return next(self.kept_texts([""]))

    # Predictions

    def flow_shift(self, latent_shape: tuple[int, int, int, int]) -> float:
        """The run's one flow shift, whatever the shape."""
        return self._flow_shift

    def predict(
        self, modules: Modules, noisy_BTCHW: Tensor, timestep: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        """v ≈ ε - x0, float32 [B, T, C, H, W]. Of two experts, each sample is predicted by the one that its timestep belongs to."""
        text = _own(condition)
        if "transformer_2" not in modules:
            return Prediction(self._forward(modules["transformer"], noisy_BTCHW, timestep, text, ask))
        high_B = timestep >= self.boundaries[modules["transformer"]] * flow.TRAIN_TIMESTEPS
        rows = {"transformer": high_B.nonzero()[:, 0], "transformer_2": (~high_B).nonzero()[:, 0]}
        velocities = [
            self._forward(modules[name], noisy_BTCHW[own], timestep[own], text.select(own), ask)
            for name, own in rows.items()
            if len(own)
        ]
        return Prediction(torch.cat(velocities)[torch.cat(list(rows.values())).argsort()])

    def _forward(
        self, transformer: nn.Module, noisy_BTCHW: Tensor, timestep_B: Tensor, text: WanText, ask: Ask
    ) -> Tensor:
        """One pass. A TI2V transformer, which takes a timestep per token, is given one per sample too: text-to-video has all of a
        sample's tokens at one timestep, and the time embedding of [B] instead of [B, tokens] spares gigabytes at full size."""
        noisy_BCTHW, timestep_B = noisy_BTCHW.transpose(1, 2), timestep_B.to(noisy_BTCHW.device, torch.float32)
        call = AttentionCall(text.pad_bias_L, self._sparse(transformer, noisy_BCTHW.shape, ask))
        with self._precision(), attention_call(call):
            velocity_BCTHW: Tensor = transformer(noisy_BCTHW, timestep_B, text.embeds_BLD, return_dict=False)[0]
        return velocity_BCTHW.to(noisy_BTCHW.dtype).transpose(1, 2)

    def _sparse(self, transformer: nn.Module, shape_BCTHW: Sequence[int], ask: Ask) -> SparseCall | None:
        """What self-attention leaves out. Raises ConfigError for attention that the transformer was not loaded for."""
        if ask.attn_kind == "dense":
            return None
        if ask.attn_kind != "vsa" or transformer not in self.engines:
            message = f"is {ask.attn_kind!r}, and this role was loaded for dense attention; set attn_kind: dense"
            raise ConfigError([Problem("method_config.attn_kind", message)])
        _, _, frames, rows, columns = shape_BCTHW
        temporal, vertical, horizontal = self.folder.patch
        grid = (frames // temporal, rows // vertical, columns // horizontal)
        assert ask.sparsity is not None, "a role says how sparse its attention is"
        return SparseCall(grid, ask.sparsity, self.engines[transformer])

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
