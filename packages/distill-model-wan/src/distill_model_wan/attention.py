"""Wan's attention: cross-attention to folded text and to pictures, and what self-attention makes of hidden states.

The state of a pass (the bias that folds text padding, how much of what is attended is text) is in force for its duration, as that of
self-attention is (:mod:`distill_diffusers.passes.self_attention`). B batch, N tokens, L tokens of text, H heads, D head width.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor

from distill_core.surroundings import Surrounding
from distill_core.training.recompute import recomputed
from distill_diffusers.kernels import attending_masked


@dataclass(frozen=True)
class TextCall:
    """The state of one pass.

    Attributes:
        pad_bias_L: added to the logits of cross-attention, one value per text token; None adds nothing.
        text_tokens: how many tokens of cross-attention are text; those before them are of pictures.
    """

    pad_bias_L: Tensor | None = None
    text_tokens: int = 0


_PLAIN = TextCall()
_current = Surrounding(_PLAIN)


def text_call(call: TextCall) -> AbstractContextManager[None]:
    """Inside, cross-attention works for ``call``."""
    return _current.being(call)


class FoldedTextProcessor:
    """diffusers' cross-attention, with the bias of the current call."""

    def __init__(self) -> None:
        self._plain = WanAttnProcessor()

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Cross-attention of [B, N, width] to [B, L, width]; the signature is diffusers'."""
        call = _current.value
        mask = attention_mask if call.pad_bias_L is None else call.pad_bias_L.view(1, 1, 1, -1)
        if attn.add_k_proj is not None:
            return _beside_pictures(attn, hidden_states, encoder_hidden_states, mask, call.text_tokens)
        with nullcontext() if mask is None else attending_masked():
            attended: Tensor = self._plain(attn, hidden_states, encoder_hidden_states, mask, rotary_emb)
        return attended


def _beside_pictures(
    attn: WanAttention, hidden_BNW: Tensor, context_BLW: Tensor, mask: Tensor | None, text_tokens: int
) -> Tensor:
    """Cross-attention to text plus cross-attention to what comes before it, pictures; diffusers takes any text for one of 512 tokens."""
    pictures, text = context_BLW.split([context_BLW.shape[1] - text_tokens, text_tokens], dim=1)
    q, k, v = attn.norm_q(attn.to_q(hidden_BNW)), attn.norm_k(attn.to_k(text)), attn.to_v(text)
    shown_k, shown_v = attn.norm_added_k(attn.add_k_proj(pictures)), attn.add_v_proj(pictures)
    q, k, v, shown_k, shown_v = (each.unflatten(2, (attn.heads, -1)) for each in (q, k, v, shown_k, shown_v))
    with nullcontext() if mask is None else attending_masked():
        of_text = dispatch_attention_fn(q, k, v, attn_mask=mask).flatten(2, 3).type_as(q)
    of_pictures = dispatch_attention_fn(q, shown_k, shown_v).flatten(2, 3).type_as(q)
    out: Tensor = attn.to_out[1](attn.to_out[0](of_text + of_pictures))
    return out


def projected(attn: WanAttention, hidden_BNW: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys of a self-attention layer, after norm and rotation, and values, [B, N, H, D]."""
    q, k = attn.norm_q(attn.to_q(hidden_BNW)), attn.norm_k(attn.to_k(hidden_BNW))
    q, k, v = (each.unflatten(2, (attn.heads, -1)) for each in (q, k, attn.to_v(hidden_BNW)))
    return _rotated(q, *rotary), _rotated(k, *rotary), v


def _rotated(x_BNHD: Tensor, cos_1N1D: Tensor, sin_1N1D: Tensor) -> Tensor:
    """Rotary position embedding: each pair of neighbouring numbers turned by its token's angle. Pairs repeat their cosine and sine."""
    real, imaginary = x_BNHD.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos_1N1D[..., 0::2], sin_1N1D[..., 0::2]
    turned = torch.stack((real * cos - imaginary * sin, real * sin + imaginary * cos), dim=-1)
    return turned.flatten(-2).type_as(x_BNHD)


def fold_text(transformer: WanTransformer3DModel) -> None:
    """Let the cross-attention layers of a transformer follow the current call."""
    for block in transformer.blocks:
        block.attn2.set_processor(FoldedTextProcessor())


def checkpoint_blocks(transformer: WanTransformer3DModel) -> None:
    """Recompute the blocks' activations in backward; they have no active dropout, so no random state is kept."""
    transformer.enable_gradient_checkpointing(gradient_checkpointing_func=recomputed)
