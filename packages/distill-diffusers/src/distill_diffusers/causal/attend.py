"""Attention of one layer in a causal pass: on a CUDA GPU by flex_attention where not all see all, else by torch's own with a dense mask.

B batch, N tokens, H heads, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from distill_diffusers.causal.sight import Sight
from distill_diffusers.causal.streams import Memory, Recorder, layer_of
from distill_diffusers.sparse.flex import compiled_attention

FLEX_WIDTH = 16
"""The narrowest heads that flex_attention's kernels take."""


@dataclass(frozen=True, eq=False)
class CausalCall:
    """What one causal pass asks of its self-attention; frozen, so that a repetition in backward is the same.

    Attributes:
        rotary: the tokens' positions, as the family has them, [1, N, …] each.
        sight: who sees whom; None, all see all.
        past: what the stream remembers.
        recorder: takes down the keys and values, if a stream is wanted.
        forward_mode: whether derivatives are taken in forward mode, which flex_attention has none of.
    """

    rotary: tuple[Tensor, ...]
    sight: Sight | None = None
    past: Memory = ()
    recorder: Recorder | None = None
    forward_mode: bool = False


def causal_attention(q_BNHD: Tensor, k_BNHD: Tensor, v_BNHD: Tensor, layer: int, call: CausalCall) -> Tensor:
    """Queries and keys after norm and rotation, and values, to the attended values, [B, N, H, D]."""
    # Norms may have left queries and keys in float32: attention would round them to the values' dtype, and so much less is remembered.
    q, k, v = q_BNHD.type_as(v_BNHD), k_BNHD.type_as(v_BNHD), v_BNHD
    if call.recorder is not None:
        call.recorder.take(layer, k, v)
    if call.past:
        k, v = layer_of(call.past, layer, k, v)
    q, k, v = (each.transpose(1, 2) for each in (q, k, v))
    if call.sight is None:
        attended = scaled_dot_product_attention(q, k, v)
    elif flexible(v, call):
        attended = compiled_attention()(q, k, v, block_mask=call.sight.block_mask)
    else:
        attended = scaled_dot_product_attention(q, k, v, attn_mask=call.sight.dense)
    return attended.transpose(1, 2)


def flexible(v: Tensor, call: CausalCall) -> bool:
    """Whether flex_attention can do the work."""
    return v.is_cuda and v.shape[-1] >= FLEX_WIDTH and not call.forward_mode
