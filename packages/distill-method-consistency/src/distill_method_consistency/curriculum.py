"""How near two states of a pair are to each other: the curves of ECT (Geng et al., arXiv 2406.14548, section 3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

K = 8.0
"""k of the curve 1 + k · sigmoid(-b t), with b = 1."""
LARGEST = 80.0
"""EDM's largest noise level; beyond it, up to pure noise, a pair is as far apart as there."""


def earlier_time(t_B: Tensor, ratio: float, k: float = K) -> Tensor:
    """r = max(t - t (1 - ρ) (1 + k · sigmoid(-t)), 0), for EDM's noise levels t; with k = 0, r = ρ t (ECT, equation 13)."""
    return (t_B - t_B * (1.0 - ratio) * (1.0 + k * torch.sigmoid(-t_B))).clamp(min=0.0)


def earlier_sigma(sigma_B: Tensor, ratio: float, curve: Literal["linear", "edm"]) -> Tensor:
    """σ_r < σ_t of a flow. edm: the curve in EDM's noise level, σ / (1 - σ): both say the same ratio of noise to signal."""
    if curve == "linear":
        return earlier_time(sigma_B, ratio, k=0.0)
    level_B = (sigma_B / (1.0 - sigma_B).clamp(min=1e-12)).clamp(max=LARGEST)
    earlier_B = earlier_time(level_B, ratio)
    return earlier_B / (1.0 + earlier_B)
