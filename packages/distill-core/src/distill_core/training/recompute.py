"""Recomputing a block in backward as it was computed first: under the state that its call had, when other calls have come and gone."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from distill_core.training.lora import draws_numbers


def recomputed(block: nn.Module | Callable[..., Any], *inputs: Any, draws: bool = False) -> Any:
    """``block(*inputs)``, whose activations are not kept but made again in backward.

    All context variables are then as they are now: those of LoRAs that are worn, and a family's own of its attention. ``draws``: whether
    the block draws random numbers by itself; keeping their state costs a device synchronisation, so it is kept only then, and for the
    dropout of what is worn. ``Any``: a block takes and gives what it likes.
    """
    context = copy_context()
    keep = draws or draws_numbers()
    return checkpoint(context.run, block, *inputs, use_reentrant=False, preserve_rng_state=keep)
