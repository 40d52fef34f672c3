"""Noise from an anchor: a sample that is not clean but at a noise level of its own, noised further (Phased DMD, arXiv 2510.27684).

B batch, T frames, C channels, H W rows and columns; σ_s the anchor's, σ_t the one that it is noised to, 0 ≤ σ_s < σ_t ≤ 1.
x_t = α x_s + β ε with α = (1 - σ_t) / (1 - σ_s) and β² = σ_t² - α² σ_s², so that x_t is distributed as clean data noised to σ_t are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill_core.flow import shaped_like

LEAST_BETA_SQUARED = 1e-8
"""β² goes to 0 where σ_t does to σ_s; nothing is divided by less than its root."""


@dataclass(frozen=True)
class Anchored:
    """A noised anchor.

    Attributes:
        noisy_BTCHW: x_t.
        velocity_BTCHW: d x_t / d σ_t, what a network that is trained on x_t regresses onto; ε - x_0 for an anchor at σ_s = 0.
    """

    noisy_BTCHW: Tensor
    velocity_BTCHW: Tensor


def noised_from(anchor_BTCHW: Tensor, anchor_t: float, noise_BTCHW: Tensor, timestep_B: Tensor) -> Anchored:
    """x_t, and d x_t / d σ_t = - x_s / (1 - σ_s) + ε (σ_t + (1 - σ_t) σ_s² / (1 - σ_s)²) / β. Coefficients in float64."""
    s, t = anchor_t / 1000.0, timestep_B.double() / 1000.0
    alpha = (1.0 - t) / (1.0 - s)
    beta = (t**2 - (alpha * s) ** 2).clamp(min=LEAST_BETA_SQUARED).sqrt()
    slope = (t + alpha * s**2 / (1.0 - s)) / beta

    def of(values_B: Tensor) -> Tensor:
        """Shaped to multiply a sample."""
        return shaped_like(values_B.to(anchor_BTCHW.device, torch.float32), anchor_BTCHW)

    noisy_BTCHW = of(alpha) * anchor_BTCHW + of(beta) * noise_BTCHW
    velocity_BTCHW = of(slope) * noise_BTCHW - anchor_BTCHW / (1.0 - s)
    return Anchored(noisy_BTCHW, velocity_BTCHW)
