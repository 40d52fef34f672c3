"""The fine branch in plain torch, on any device, with gradients: gather what is selected and attend to it. The reference of the others.

B batch, H heads, n cubes, S places in a cube, D head width, K selected cubes of each cube, c cubes at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from distill_diffusers.sparse.cubes import Cubes

GATHERED = 1 << 24
"""Numbers that are gathered at a time, of the keys and of the values each: 64 MB in float32."""


def fine(q_BHnSD: Tensor, k_BHnSD: Tensor, v_BHnSD: Tensor, selected_BHnK: Tensor, cubes: Cubes) -> Tensor:
    """Softmax attention of each token over the tokens of its cube's selected cubes, [B, H, n, S, D].

    Cube by cube where there is much to gather; gradients then gather it a second time instead of keeping it.
    """
    batch, heads, count, kept = selected_BHnK.shape
    at_once = max(1, GATHERED // (batch * heads * kept * cubes.places * q_BHnSD.shape[-1]))
    keys, values = k_BHnSD.flatten(0, 2), v_BHnSD.flatten(0, 2)
    first_BH11 = torch.arange(batch * heads, device=selected_BHnK.device).view(batch, heads, 1, 1) * count
    filled_nS = None if cubes.whole else cubes.filled()
    if at_once >= count:
        return _attended(q_BHnSD, keys, values, selected_BHnK, first_BH11, filled_nS)
    parts = []
    for start in range(0, count, at_once):
        own = slice(start, start + at_once)
        parts.append(
            checkpoint(
                _attended,
                q_BHnSD[:, :, own],
                keys,
                values,
                selected_BHnK[:, :, own],
                first_BH11,
                filled_nS,
                use_reentrant=False,
                preserve_rng_state=False,
            )
        )
    return torch.cat(parts, dim=2)


def _attended(
    q_BHcSD: Tensor,
    keys: Tensor,
    values: Tensor,
    selected_BHcK: Tensor,
    first_BH11: Tensor,
    filled_nS: Tensor | None,
) -> Tensor:
    """``keys`` and ``values`` are [B · H · n, S, D]; ``first_BH11`` is where each head's cubes begin in them."""
    chosen = (first_BH11 + selected_BHcK).flatten()
    rows = selected_BHcK.shape[:3]
    k, v = (each.index_select(0, chosen).view(*rows, -1, each.shape[-1]) for each in (keys, values))
    mask = None if filled_nS is None else filled_nS[selected_BHcK].view(*rows, 1, -1)
    return scaled_dot_product_attention(q_BHcSD, k, v, attn_mask=mask)
