"""Recomputing a block in backward as it was computed first: under the state that its call had, when other calls have come and gone.

Which blocks, and what of them, is said by the role whose prediction it is (:func:`recomputing`): roles may share one set of blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
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
from distill_core.surroundings import Surrounding, as_now
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


@dataclass
class _Computation:
    """A block's, which comes once for the prediction, and then for backward: under all that was in force the first time, its kernel too.

    Attributes:
        run: computes so.
        done: whether the first is over.
    """

    run: Callable[..., Any] = field(default_factory=as_now)
    done: bool = False

    def __call__(self, block: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        made = self.run(self._noted, block, *inputs, **named)
        self.done = True
        return made

    def _noted(self, block: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        with _again.being(self.done), attending_again() if self.done else nullcontext():
            return block(*inputs, **named)


_current: Surrounding[_Prediction | None] = Surrounding(None)
_again = Surrounding(False)


def recomputing(said: Recomputation | None) -> AbstractContextManager[None]:
    """Inside, blocks that can are recomputed as ``said``; None: none of them."""
    return _current.being(_Prediction(said))


def recomputed(block: nn.Module | Callable[..., Any], *inputs: Any, draws: bool = False, **named: Any) -> Any:
    """``block(*inputs, **named)``, whose activations are not kept but made again in backward, as far as the role says.

    All that is in force now is so then (:mod:`distill_core.surroundings`): the LoRAs that are worn, a family's own of its attention.
    ``draws``: whether the block draws random numbers by itself; keeping their state costs a device synchronisation, so it is kept only
    then, and for the dropout of what is worn. ``Any``: a block takes and gives what it likes.
    """
    said = _next_block()
    if said is None:
        return block(*inputs, **named)
    keep = draws or draws_numbers()
    kept = _attention_kept if said.attention_kept else noop_context_fn
    return checkpoint(
        _Computation(), block, *inputs, use_reentrant=False, preserve_rng_state=keep, context_fn=kept, **named
    )


def computes_again() -> bool:
    """Whether a block is at work that was computed before, and is now for backward."""
    return _again.value


def _next_block() -> Recomputation | None:
    """What is recomputed of the block that begins; None keeps it all."""
    prediction = _current.value
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
