"""Wan's operations: how its transformers are called, and how captions are packed for them.

Knows no method, no rollout and no role name. B batch, T latent frames, C channels, H W latent rows and columns, L tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from distill_core.errors import ConfigError, Problem
from distill_core.protocols import Ask, Condition
from distill_diffusers.adapter import DiffusersAdapter
from distill_diffusers.captions import CaptionEncoder
from distill_diffusers.codec import VideoCodec
from distill_diffusers.conditions import TOKENS, CaptionTensors
from distill_diffusers.facts import DiffusersFacts
from distill_model_wan.attention import AttentionCall, attention_call
from distill_model_wan.text import TextPacking, WanText
from distill_model_wan.vsa.attend import SparseCall
from distill_model_wan.vsa.engines import Engine


class WanAdapter(DiffusersAdapter[WanText]):
    """The :class:`distill_core.protocols.Adapter` of Wan.

    Attributes:
        packing: how captions are padded.
        engines: of each transformer that has gates for it, what computes its sparse attention.
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
        self.engines: WeakKeyDictionary[nn.Module, Engine] = WeakKeyDictionary()

    def pack(self, captions: Sequence[CaptionTensors]) -> WanText:
        """Captions, padded, the padding folded."""
        return self.packing.pack([caption[TOKENS] for caption in captions])

    def mixed(self, condition: Condition, other: WanText, mask_B: Tensor) -> WanText:
        """``other`` where the mask is true."""
        return self.packing.mixed(_own(condition), other, mask_B)

    def velocity(
        self, denoiser: nn.Module, noisy_BTCHW: Tensor, timestep_B: Tensor, condition: Condition, ask: Ask
    ) -> Tensor:
        """One pass. A TI2V transformer, which takes a timestep per token, is given one per sample too: text-to-video has all of a
        sample's tokens at one timestep, and the time embedding of [B] instead of [B, tokens] spares gigabytes at full size."""
        text = _own(condition)
        noisy_BCTHW, timestep_B = noisy_BTCHW.transpose(1, 2), timestep_B.to(noisy_BTCHW.device, torch.float32)
        call = AttentionCall(text.pad_bias_L, self._sparse(denoiser, noisy_BCTHW.shape, ask))
        with self.precision(), attention_call(call):
            velocity_BCTHW: Tensor = denoiser(noisy_BCTHW, timestep_B, text.embeds_BLD, return_dict=False)[0]
        return velocity_BCTHW.to(noisy_BTCHW.dtype).transpose(1, 2)

    def _sparse(self, transformer: nn.Module, shape_BCTHW: Sequence[int], ask: Ask) -> SparseCall | None:
        """What self-attention leaves out. Raises ConfigError for attention that the transformer was not loaded for."""
        if ask.attn_kind == "dense":
            return None
        if ask.attn_kind != "vsa" or transformer not in self.engines:
            message = f"is {ask.attn_kind!r}, and this role was loaded for dense attention; set attn_kind: dense"
            raise ConfigError([Problem("method_config.attn_kind", message)])
        _, _, frames, rows, columns = shape_BCTHW
        temporal, vertical, horizontal = self.facts.patch
        grid = (frames // temporal, rows // vertical, columns // horizontal)
        assert ask.sparsity is not None, "a role says how sparse its attention is"
        return SparseCall(grid, ask.sparsity, self.engines[transformer])


def _own(text: Condition) -> WanText:
    assert isinstance(text, WanText), f"a Wan model is conditioned on WanText, got {type(text).__name__}"
    return text
