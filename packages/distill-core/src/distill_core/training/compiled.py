"""Blocks that torch.compile makes faster: each of a model's blocks, once for each role, precision and shape that it is called with.

What a block reads of its surroundings, a role's LoRA and a family's own call, is looked at again before each run, so one block serves all
roles of a set of weights. It computes what the plain one does up to rounding: kernels add in another order.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.surroundings import Surrounding
from distill_core.training.sharding import blocks_of

BACKEND = "inductor"
"""What makes kernels."""
MOST = 64
"""Ways in which one kind of block may be called. A run that finds more ends, and does not go on slowly without a word."""

_scale = Surrounding(1.0)


def compile_blocks(modules: Iterable[nn.Module]) -> int:
    """Let the blocks of modules be compiled at their first calls. Returns how many there are."""
    settings: Any = import_module("torch._dynamo.config")
    settings.skip_nnmodule_hook_guards = (
        False  # of two blocks that are alike but for their hooks, one may be adapted and one not
    )
    settings.fail_on_recompile_limit_hit = True
    settings.recompile_limit = max(MOST, settings.recompile_limit)
    blocks = [block for module in modules for block in blocks_of(module)]
    for block in blocks:
        block.compile(backend=BACKEND)
    return len(blocks)


def made() -> int:
    """How often a block was compiled in this process so far: no more once all ways to call one have come."""
    return int(import_module("torch._dynamo.utils").counters["stats"]["unique_graphs"])


class _Probe(nn.Module):
    """A layer that reads of its surroundings, as adapted layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 64] to [B, 64]."""
        return torch.nn.functional.gelu(self.layer(x)) * _scale.value


def why_not_compiled(device: torch.device, compute: torch.dtype) -> str | None:
    """Why this machine cannot compile blocks, found by one small layer; None if it can."""
    probe = _Probe().to(device, compute)
    probe.compile(backend=BACKEND, fullgraph=True)
    try:
        with plugin_border():
            probe(torch.ones(2, 64, device=device, dtype=compute)).sum().backward()
    except RefusedError as refusal:
        return f"torch.compile does not run on this machine ({shorten(refusal.reason, 300)}); leave this out"
    return None
