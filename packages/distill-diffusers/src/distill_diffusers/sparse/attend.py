"""Video sparse attention of queries, keys and values: O = O_fine + G ⊙ O_coarse (arXiv 2505.13389, section 3.2 and appendix C.5).

B batch, N tokens in raster order, H heads, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from distill_diffusers.sparse.cubes import Grid, cubes_of
from distill_diffusers.sparse.engines import Engine
from distill_diffusers.sparse.selection import coarse, kept_cubes, selected


@dataclass(frozen=True)
class SparseCall:
    """What one forward pass asks of its self-attention; frozen, so that a repetition in backward is the same.

    Attributes:
        grid: tokens along time, height and width.
        sparsity: the share of cubes that is left out, in [0, 1).
        engine: what computes the fine branch.
    """

    grid: Grid
    sparsity: float
    engine: Engine


def sparse_attention(q_BNHD: Tensor, k_BNHD: Tensor, v_BNHD: Tensor, gate_BNHD: Tensor, call: SparseCall) -> Tensor:
    """Queries and keys after norm and rotation, values, and the gate, [B, N, H, D], to the attended values, [B, N, H, D].

    With nothing left out the fine branch is dense attention, and with a gate of 0 the whole is.
    """
    cubes = cubes_of(call.grid, q_BNHD.device)
    q, k, v = (cubes.tiled(each) for each in (q_BNHD, k_BNHD, v_BNHD))
    coarse_BHnD, scores_BHnn = coarse(q, k, v, cubes)
    kept = kept_cubes(call.sparsity, cubes.count)
    if kept < cubes.count:
        fine_BNHD = cubes.untiled(call.engine.fine(q, k, v, selected(scores_BHnn, kept), cubes))
    else:
        fine_BNHD = dense(q_BNHD, k_BNHD, v_BNHD)
    return fine_BNHD + gate_BNHD * cubes.spread(coarse_BHnD)


def dense(q_BNHD: Tensor, k_BNHD: Tensor, v_BNHD: Tensor) -> Tensor:
    """Attention over all tokens, [B, N, H, D]."""
    q, k, v = (each.transpose(1, 2) for each in (q_BNHD, k_BNHD, v_BNHD))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2)
