"""Recomputing a block in backward as it was computed first: under the state that its call had, when other calls have come and gone.

Which blocks, and what of them, is said by the role whose prediction it is (:func:`recomputing`): roles may share one set of blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    checkpoint,
    create_selective_checkpoint_contexts,
    noop_context_fn,
)

from distill_core.config.recomputation import Recomputation
from distill_core.training.kernels import attending_again
from distill_core.training.lora import draws_numbers

WHOLE = Recomputation()
"""All blocks, each as a whole: what blocks do that were asked to recompute, where nobody says more."""

_ATTENTION = ("attention", "attn")
"""What is in the name of every operation that attends, torch's and other libraries'."""


@dataclass
class _Prediction:
    """A prediction that is going on.

    Attributes:
        said: what it recomputes.
        blocks: how many of its blocks have begun.
    """

    said: Recomputation | None
    blocks: int = 0


_current: ContextVar[_Prediction | None] = ContextVar("recomputation", default=None)
_computed: ContextVar[bool] = ContextVar("computed_before", default=False)


@contextmanager
def recomputing(said: Recomputation | None) -> Iterator[None]:
    """Inside, blocks that can are recomputed as ``said``; None: none of them."""
    token = _current.set(_Prediction(said))
    try:
        yield
    finally:
        _current.reset(token)


def recomputed(block: nn.Module | Callable[..., Any], *inputs: Any, draws: bool = False, **named: Any) -> Any:
    """``block(*inputs, **named)``, whose activations are not kept but made again in backward, as far as the role says.

    All context variables are then as they are now: those of LoRAs that are worn, and a family's own of its attention. ``draws``: whether
    the block draws random numbers by itself; keeping their state costs a device synchronisation, so it is kept only then, and for the
    dropout of what is worn. ``Any``: a block takes and gives what it likes.
    """
    said = _next_block()
    if said is None:
        return block(*inputs, **named)
    context = copy_context()
    keep = draws or draws_numbers()
    kept = _attention_kept if said.attention_kept else noop_context_fn
    return checkpoint(
        context.run, _noted, block, *inputs, use_reentrant=False, preserve_rng_state=keep, context_fn=kept, **named
    )


def computes_again() -> bool:
    """Whether a block is at work that was computed before, and is now for backward."""
    return _computed.get()


def _noted(block: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """Compute, and leave in the block's own context that it was; again by the kernel that it was computed by."""
    with attending_again() if _computed.get() else nullcontext():
        made = block(*inputs, **named)
    _computed.set(True)
    return made


def _next_block() -> Recomputation | None:
    """What is recomputed of the block that begins; None keeps it all."""
    prediction = _current.get()
    if prediction is None:
        return WHOLE
    number, said = prediction.blocks, prediction.said
    prediction.blocks += 1
    return None if said is None or number % said.every else said


def _attention_kept() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    contexts: tuple[AbstractContextManager[None], AbstractContextManager[None]] = create_selective_checkpoint_contexts(
        _policy
    )
    return contexts


def _policy(_: SelectiveCheckpointContext, operation: Any, *__: Any, **___: Any) -> CheckpointPolicy:
    name = operation.name().lower()
    attends = any(word in name for word in _ATTENTION)
    return CheckpointPolicy.MUST_SAVE if attends else CheckpointPolicy.PREFER_RECOMPUTE
