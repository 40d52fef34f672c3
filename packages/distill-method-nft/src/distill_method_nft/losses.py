"""The losses of DiffusionNFT as functions of tensors. B batch, G clips of each caption, T frames, C channels, H W rows and columns."""

from __future__ import annotations

from torch import Tensor

from distill_core import flow

LEAST_DEVIATION = 1e-4
LEAST_DISTANCE = 1e-5


def goodness(reward_GB: Tensor, clip: float) -> Tensor:
    """r in [0, 1] of each clip, ½ for the mean of its group (arXiv 2509.16117, section 3.3 and algorithm 1, line 5).

    A = (R - mean) / (std + 1e-4) within each caption's group, cut at ± clip; r = A / (2 clip) + ½. A group whose rewards are all alike says
    nothing: r = ½.
    """
    deviation_B = reward_GB.std(dim=0, unbiased=False)
    advantage_GB = (reward_GB - reward_GB.mean(dim=0)) / (deviation_B + LEAST_DEVIATION)
    return (advantage_GB.clamp(-clip, clip) / (2.0 * clip) + 0.5).clamp(0.0, 1.0)


def implied(velocity_BTCHW: Tensor, old_BTCHW: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """v+ = (1 - β) v_old + β v and v- = (1 + β) v_old - β v: the policies that a student implies (arXiv 2509.16117, theorem 3.2)."""
    return (
        (1.0 - beta) * old_BTCHW + beta * velocity_BTCHW,
        (1.0 + beta) * old_BTCHW - beta * velocity_BTCHW,
    )


def distance(noisy_BTCHW: Tensor, velocity_BTCHW: Tensor, timestep_B: Tensor, x0_BTCHW: Tensor) -> Tensor:
    """ℓ = mean (x̂0 - x0)² / max(mean |x̂0 - x0|, 1e-5) of each sample, [B], the divisor a constant: weighs all noise levels alike
    (arXiv 2509.16117, section 3.3)."""
    error_BN = (flow.x0_of(noisy_BTCHW, velocity_BTCHW, timestep_B) - x0_BTCHW).float().flatten(1)
    return (error_BN**2).mean(1) / error_BN.detach().abs().mean(1).clamp(min=LEAST_DISTANCE)


def nft_loss(good_B: Tensor, plus_B: Tensor, minus_B: Tensor, beta: float, clip: float) -> Tensor:
    """clip · mean [r ℓ+ + (1 - r) ℓ-] / β (arXiv 2509.16117, equation 5): towards good clips by v+, away from bad ones by v-."""
    return clip * (good_B * plus_B + (1.0 - good_B) * minus_B).mean() / beta
