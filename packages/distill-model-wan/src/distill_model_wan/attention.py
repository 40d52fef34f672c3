"""What one call of the transformer asks of its attention layers, and the layers' answer.

The state of a call (the bias that folds text padding) lives in a context variable: it is set for the duration of one forward pass,
and set again when gradient checkpointing runs a block a second time during backward, when other calls have come and gone. Nothing
of it outlives the call. Self-attention is diffusers' own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass

from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class AttentionCall:
    """The state of one forward pass.

    Attributes:
        pad_bias_L: added to the logits of cross-attention, one value per text token; None adds nothing.
    """

    pad_bias_L: Tensor | None = None


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
        bias_L = _current.get().pad_bias_L
        mask = attention_mask if bias_L is None else bias_L.view(1, 1, 1, -1)
        attended: Tensor = self._plain(attn, hidden_states, encoder_hidden_states, mask, rotary_emb)
        return attended


def fold_text(transformer: WanTransformer3DModel) -> None:
    """Let the cross-attention layers of a transformer follow the current call."""
    for block in transformer.blocks:
        block.attn2.set_processor(FoldedTextProcessor())


def checkpoint_blocks(transformer: WanTransformer3DModel) -> None:
    """Recompute the blocks' activations in backward, under the call that they were first computed for."""
    transformer.enable_gradient_checkpointing(gradient_checkpointing_func=_checkpointed)


def _checkpointed(block: nn.Module, *inputs: object) -> Tensor:
    call = _current.get()

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """What the first computation runs under, and what its repetition does."""
        return nullcontext(), attention_call(call)

    # Wan has no active dropout, so there is no random state to keep: saving it costs a device synchronisation per block.
    output: Tensor = checkpoint(block, *inputs, use_reentrant=False, context_fn=contexts, preserve_rng_state=False)
    return output
