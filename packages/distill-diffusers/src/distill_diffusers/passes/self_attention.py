"""What one pass asks of a denoiser's self-attention, and the layers' answer.

The state of a pass (the grid and the sparsity of sparse attention, who sees whom in causal attention) is in force for the duration of the
pass (:mod:`distill_core.surroundings`), and recomputation in backward, when other passes have come and gone, sees it as it was
(:mod:`distill_core.training.recompute`). Nothing of it outlives the pass. Dense attention is diffusers' own.

B batch, N tokens, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from distill_core.ranks.peers import sharers
from distill_core.surroundings import Surrounding
from distill_diffusers.causal.attend import CausalCall, causal_attention
from distill_diffusers.passes.shared_clip import shared_attention
from distill_diffusers.sparse.attend import SparseCall, sparse_attention
from distill_diffusers.sparse.gates import GATE

# ``Any`` below: attention layers and rotary positions of diffusers' denoisers have no common type.

Processor = Callable[..., Tensor]
"""How an attention layer computes; called as diffusers calls it."""

Project = Callable[[Any, Tensor, Any], tuple[Tensor, Tensor, Tensor]]
"""(layer, hidden states [B, N, width], rotary positions) to queries and keys, after norm and rotation, and values, [B, N, H, D]."""


@dataclass(frozen=True)
class SelfCall:
    """The state of one pass.

    Attributes:
        sparse: what self-attention leaves out; None attends densely.
        causal: who sees whom, and what went before; None, all of the pass's tokens see all.
    """

    sparse: SparseCall | None = None
    causal: CausalCall | None = None


_PLAIN = SelfCall()
_current = Surrounding(_PLAIN)


def self_call(call: SelfCall) -> AbstractContextManager[None]:
    """Inside, self-attention works for ``call``."""
    return _current.being(call)


class SelfAttention:
    """What the layer did before, and sparse, causal or shared self-attention where the current pass is that.

    Attributes:
        layer: the layer's number: its place in a stream.
        project: the family's.
        plain: the processor of passes that are none of it.
        gate: the block's gate of the coarse branch, if it has one. The block owns it; this is no module, and has it in no state.
    """

    def __init__(self, layer: int, project: Project, plain: Processor, gate: nn.Module | None) -> None:
        self.layer = layer
        self.project = project
        self.plain = plain
        self.gate = gate

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: Any = None,
        image_rotary_emb: Any = None,
    ) -> Tensor:
        """Self-attention of [B, N, width]; the names are those by which diffusers' denoisers call, some by one of the last two."""
        call, rotary = _current.value, image_rotary_emb if rotary_emb is None else rotary_emb
        if call.causal is not None:
            q, k, v = self.project(attn, hidden_states, call.causal.rotary)
            out_BNHD = causal_attention(q, k, v, self.layer, call.causal)
        elif call.sparse is not None:
            assert self.gate is not None, "a denoiser without gates is asked for no sparse attention"
            q, k, v = self.project(attn, hidden_states, rotary)
            gate = self.gate(hidden_states).unflatten(2, v.shape[2:])
            out_BNHD = sparse_attention(q, k, v, gate, call.sparse)
        elif (peers := sharers()) is not None:
            q, k, v = self.project(attn, hidden_states, rotary)
            out_BNHD = shared_attention(q, k, v, peers)
        else:
            return self.plain(attn, hidden_states, encoder_hidden_states, attention_mask, rotary)
        out: Tensor = attn.to_out[1](attn.to_out[0](out_BNHD.flatten(2).type_as(q)))
        return out


def follow_passes(blocks: Iterable[Any], project: Project) -> None:
    """Let the self-attention of a denoiser's blocks follow the current pass; blocks that have a gate can attend sparsely."""
    for layer, block in enumerate(blocks):
        gate = dict(block.named_children()).get(GATE)
        block.attn1.set_processor(SelfAttention(layer, project, block.attn1.processor, gate))
