"""The coarse branch: attention between the means of cubes, and which cubes a cube attends to in full.

B batch, H heads, n cubes, S places in a cube, D head width, K cubes that are kept.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import torch
from torch import Tensor

from distill_diffusers.sparse.cubes import Cubes

_DECIMALS = 1_000_000


def kept_cubes(sparsity: float, cubes: int) -> int:
    """K = max(1, ⌈(1 - s) n⌉): how many of n cubes each cube attends to. Exact in decimals: .9 of 10 cubes leaves 1, not 2.

    Raises ValueError for a sparsity outside [0, 1).
    """
    if not 0.0 <= sparsity < 1.0:
        raise ValueError(f"a sparsity lies in [0, 1), got {sparsity}")
    exact = Fraction(sparsity).limit_denominator(_DECIMALS)
    return max(1, ceil((1 - exact) * cubes))


def means(cubes_BHnSD: Tensor, cubes: Cubes) -> Tensor:
    """The mean of each cube's tokens, float32 [B, H, n, D]. Empty places are 0 and do not count."""
    total_BHnD = cubes_BHnSD.sum(dim=3, dtype=torch.promote_types(cubes_BHnSD.dtype, torch.float32))
    return total_BHnD / cubes.sizes[:, None]


def coarse(q_BHnSD: Tensor, k_BHnSD: Tensor, v_BHnSD: Tensor, cubes: Cubes) -> tuple[Tensor, Tensor]:
    """Attention between cubes (section 3.2 of the paper): the output of each, [B, H, n, D], and the scores [B, H, n, n].

    A cube at the edge weighs as much as a whole one. In float32, for near ties decide what is selected.
    """
    q_BHnD, k_BHnD, v_BHnD = (means(each, cubes) for each in (q_BHnSD, k_BHnSD, v_BHnSD))
    with torch.autocast(q_BHnD.device.type, enabled=False):
        scores_BHnn = q_BHnD @ k_BHnD.transpose(-1, -2) / q_BHnD.shape[-1] ** 0.5
        out_BHnD = scores_BHnn.softmax(dim=-1) @ v_BHnD
    return out_BHnD.to(v_BHnSD.dtype), scores_BHnn


def selected(scores_BHnn: Tensor, kept: int) -> Tensor:
    """The ``kept`` best cubes of each cube and head, int64 [B, H, n, K]. No gradient passes the choice."""
    return scores_BHnn.detach().topk(kept, dim=-1, sorted=False).indices
