"""What one call of the transformer asks of its attention layers, and the layers' answer.

The state of a call (the bias that folds text padding; the grid and the sparsity of sparse self-attention; who sees whom in causal
self-attention) lives in a context variable: it is set for the duration of one forward pass, and recomputation in backward, when other
calls have come and gone, sees it as it was (:mod:`distill_core.training.recompute`). Nothing of it outlives the call. Dense attention is
diffusers' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor, nn

from distill_core.training.recompute import recomputed
from distill_diffusers.kernels import attending_masked
from distill_model_wan.causal.attend import CausalCall, causal_attention
from distill_model_wan.vsa.attend import SparseCall, sparse_attention
from distill_model_wan.vsa.gates import GATE


@dataclass(frozen=True)
class AttentionCall:
    """The state of one forward pass.

    Attributes:
        pad_bias_L: added to the logits of cross-attention, one value per text token; None adds nothing.
        sparse: what self-attention leaves out; None attends densely.
        causal: who sees whom in self-attention, and what went before; None, all of this call's tokens see all.
        text_tokens: how many tokens of cross-attention are text; those before them are of pictures.
    """

    pad_bias_L: Tensor | None = None
    sparse: SparseCall | None = None
    causal: CausalCall | None = None
    text_tokens: int = 0


Processor = Callable[..., Tensor]
"""How an attention layer computes; called as diffusers calls it."""

_PLAIN = AttentionCall()
_current: ContextVar[AttentionCall] = ContextVar("attention_call", default=_PLAIN)


@contextmanager
def attention_call(call: AttentionCall) -> Iterator[None]:
    """Inside, attention layers work for ``call``."""
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)


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
        call = _current.get()
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


class SparseSelfProcessor:
    """diffusers' self-attention where the current call is dense, video sparse attention where it is not.

    Attributes:
        gate: the block's gate of the coarse branch. The block owns it; this is no module, and has it in no state.
    """

    def __init__(self, gate: nn.Module) -> None:
        self.gate = gate
        self._plain = WanAttnProcessor()

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Self-attention of [B, N, width]; the signature is diffusers'."""
        call = _current.get().sparse
        if call is None:
            attended: Tensor = self._plain(attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb)
            return attended
        assert rotary_emb is not None
        q, k = attn.norm_q(attn.to_q(hidden_states)), attn.norm_k(attn.to_k(hidden_states))
        v, gate = attn.to_v(hidden_states), self.gate(hidden_states)
        q, k, v, gate = (each.unflatten(2, (attn.heads, -1)) for each in (q, k, v, gate))
        out_BNHD = sparse_attention(rotated(q, *rotary_emb), rotated(k, *rotary_emb), v, gate, call)
        out: Tensor = attn.to_out[1](attn.to_out[0](out_BNHD.flatten(2).type_as(q)))
        return out


class CausalSelfProcessor:
    """Causal self-attention where the current call is causal, what the layer did before where it is not.

    Attributes:
        layer: the layer's number: its place in a stream.
        plain: the processor of calls that are not causal.
    """

    def __init__(self, layer: int, plain: Processor) -> None:
        self.layer = layer
        self.plain = plain

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Self-attention of [B, N, width]; the signature is diffusers'."""
        call = _current.get().causal
        if call is None:
            return self.plain(attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb)
        q, k = attn.norm_q(attn.to_q(hidden_states)), attn.norm_k(attn.to_k(hidden_states))
        q, k, v = (each.unflatten(2, (attn.heads, -1)) for each in (q, k, attn.to_v(hidden_states)))
        out_BNHD = causal_attention(rotated(q, *call.rotary), rotated(k, *call.rotary), v, self.layer, call)
        out: Tensor = attn.to_out[1](attn.to_out[0](out_BNHD.flatten(2).type_as(q)))
        return out


def rotated(x_BNHD: Tensor, cos_1N1D: Tensor, sin_1N1D: Tensor) -> Tensor:
    """Rotary position embedding: each pair of neighbouring numbers turned by its token's angle. Pairs repeat their cosine and sine."""
    real, imaginary = x_BNHD.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos_1N1D[..., 0::2], sin_1N1D[..., 0::2]
    turned = torch.stack((real * cos - imaginary * sin, real * sin + imaginary * cos), dim=-1)
    return turned.flatten(-2).type_as(x_BNHD)


def attend_sparsely(transformer: WanTransformer3DModel) -> None:
    """Let the self-attention layers of a transformer that has gates follow the current call."""
    for block in transformer.blocks:
        block.attn1.set_processor(SparseSelfProcessor(block.get_submodule(GATE)))


def attend_causally(transformer: WanTransformer3DModel) -> None:
    """Let the self-attention layers of a transformer follow the current call where it is causal; else they do as before."""
    for layer, block in enumerate(transformer.blocks):
        block.attn1.set_processor(CausalSelfProcessor(layer, block.attn1.processor))


def fold_text(transformer: WanTransformer3DModel) -> None:
    """Let the cross-attention layers of a transformer follow the current call."""
    for block in transformer.blocks:
        block.attn2.set_processor(FoldedTextProcessor())


def checkpoint_blocks(transformer: WanTransformer3DModel) -> None:
    """Recompute the blocks' activations in backward; they have no active dropout, so no random state is kept."""
    transformer.enable_gradient_checkpointing(gradient_checkpointing_func=recomputed)
