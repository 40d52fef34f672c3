"""The fine branch by torch's flex_attention with a block mask: compiled for a GPU, forward and backward.

B batch, H heads, n cubes, S places in a cube, D head width, K selected cubes of each cube.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from distill_diffusers.sparse import CUBE
from distill_diffusers.sparse.cubes import Cubes

_TILES = dict.fromkeys(
    ("BLOCK_M", "BLOCK_N", "bwd_BLOCK_M1", "bwd_BLOCK_N1", "bwd_BLOCK_M2", "bwd_BLOCK_N2"), prod(CUBE)
)
"""A kernel's tile must divide a block of the mask: torch's own choice for a GPU is wider than a cube."""


def fine(q_BHnSD: Tensor, k_BHnSD: Tensor, v_BHnSD: Tensor, selected_BHnK: Tensor, cubes: Cubes) -> Tensor:
    """Softmax attention of each token over the tokens of its cube's selected cubes, [B, H, n, S, D]."""
    q, k, v = (each.flatten(2, 3).contiguous() for each in (q_BHnSD, k_BHnSD, v_BHnSD))
    mask = block_mask(selected_BHnK, cubes, gradients=torch.is_grad_enabled() and q.requires_grad)
    options = _TILES if q.is_cuda else None
    attended: Tensor = compiled_attention()(q, k, v, block_mask=mask, kernel_options=options)
    return attended.view(q_BHnSD.shape)


def block_mask(selected_BHnK: Tensor, cubes: Cubes, *, gradients: bool) -> BlockMask:
    """The selection for flex_attention: whole cubes need no look at their tokens, those at an edge do.

    The mask's function looks the selection up itself. Compiled code need not, for it follows the lists of blocks; code that is not
    compiled ignores the lists, and would attend densely.
    """
    with torch.no_grad():
        batch, heads, count, _ = selected_BHnK.shape
        none = torch.zeros(batch, heads, count, count, dtype=torch.bool, device=selected_BHnK.device)
        chosen_BHnn = none.scatter(-1, selected_BHnK, True)
        sizes_n, places = cubes.sizes, cubes.places
        whole_n = sizes_n == places
        edge, full = _listed(chosen_BHnn & ~whole_n), _listed(chosen_BHnn & whole_n)

        def attends(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            """Whether a place attends to another."""
            in_cube = key % places < sizes_n[key // places]
            return in_cube & chosen_BHnn[batch, head, query // places, key // places]

        return BlockMask.from_kv_blocks(*edge, *full, BLOCK_SIZE=places, mask_mod=attends, compute_q_blocks=gradients)


def _listed(chosen_BHnn: Tensor) -> tuple[Tensor, Tensor]:
    """How many cubes each row has, int32 [B, H, n], and which, first in the row, int32 [B, H, n, n]."""
    order = chosen_BHnn.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    return chosen_BHnn.sum(dim=-1, dtype=torch.int32), order.to(torch.int32)


@lru_cache(maxsize=1)
def compiled_attention() -> Callable[..., Any]:
    """flex_attention, compiled for each shape that it meets; ``Any`` because it can return more than the output."""
    return torch.compile(flex_attention, dynamic=False)
