"""Distances of predictions, and densities of times, as functions of tensors.

B batch, T latent frames, C channels, H W latent rows and columns.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

LARGEST = 80.0
"""EDM's largest noise level, where the density of truncated training ends."""
CELLS = 4096


def distance(x_BTCHW: Tensor, y_BTCHW: Tensor, kind: Literal["pseudo_huber", "squared"], c: float) -> Tensor:
    """Of each sample, [B], with m the mean square of x - y: √(m + c²) - c (iCT, arXiv 2310.14189, equation 8, per number), or m."""
    mean_B = ((x_BTCHW.float() - y_BTCHW.float()) ** 2).flatten(1).mean(1)
    return mean_B if kind == "squared" else torch.sqrt(mean_B + c**2) - c


def weights(sigma_t_B: Tensor, sigma_r_B: Tensor, kind: Literal["inverse_step", "c_out", "one"]) -> Tensor:
    """What a sample's distance counts, [B]: 1 / (t - r) (ECT, section 3), σ or 1."""
    match kind:
        case "inverse_step":
            return 1.0 / (sigma_t_B - sigma_r_B)
        case "c_out":
            return sigma_t_B
        case "one":
            return torch.ones_like(sigma_t_B)


def truncated_student_t(uniform_B: Tensor, low: float, high: float, freedom: float, scale: float) -> Tensor:
    """Draws of a Student t around 0, between ``low`` and ``high``, from uniform numbers: by its density on a fine grid.

    TCM (arXiv 2410.14895, section 4) draws log t so, with 0.01 degrees of freedom, which is nearly as 1 / |log t|.
    """
    edges = torch.linspace(low, high, CELLS + 1, dtype=torch.float64, device=uniform_B.device)
    middles = (edges[1:] + edges[:-1]) / 2.0
    density = (1.0 + (middles / scale) ** 2 / freedom) ** (-(freedom + 1.0) / 2.0)
    total = torch.cat([torch.zeros_like(density[:1]), density.cumsum(0)])
    aim_B = uniform_B * total[-1]
    cell_B = (torch.searchsorted(total, aim_B, right=True) - 1).clamp(0, CELLS - 1)
    within_B = (aim_B - total[cell_B]) / density[cell_B]
    return edges[cell_B] + within_B.clamp(0.0, 1.0) * (edges[1] - edges[0])
