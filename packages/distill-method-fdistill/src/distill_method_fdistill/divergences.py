"""The f-divergences of f-distill (Xu et al., arXiv 2502.15681, table 1) by what they weigh a sample with. B batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from distill_method_fdistill.config import Divergence

WEIGHTS: Mapping[Divergence, Callable[[Tensor], Tensor]] = {
    "rkl": torch.ones_like,
    "kl": lambda r: r,
    "js": lambda r: 1.0 - 1.0 / (1.0 + r),
    "sf": lambda r: 1.0 / (1.0 + r),
    "neyman": lambda r: 1.0 / r,
    "sh": torch.sqrt,
    "jf": lambda r: 1.0 + r,
}
"""h(r) = r² f''(r), up to a factor, of the reverse and forward Kullback-Leibler divergences, Jensen-Shannon's, the softened reverse one,
Neyman's χ², the squared Hellinger distance and Jeffreys' divergence."""

LARGEST_LOGIT = 10.0


def density_ratio(logit_B: Tensor, least: float, most: float) -> Tensor:
    """r = p_real / p_fake of each sample, [B], by the discriminator's logit: exp(D) (arXiv 2502.15681, section 4.2), within bounds."""
    return logit_B.clamp(-LARGEST_LOGIT, LARGEST_LOGIT).exp().clamp(least, most)


def weight(divergence: Divergence, ratio_B: Tensor) -> Tensor:
    """h(r), [B]: ∇D_f(p_real ‖ p_student) = E[h(r) (score_fake - score_real) ∂x/∂θ] (arXiv 2502.15681, theorem 1)."""
    return WEIGHTS[divergence](ratio_B)
