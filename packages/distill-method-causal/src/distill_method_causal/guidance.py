"""The teacher's guided velocity. B batch, T latent frames, C channels, H W latent rows and columns."""

from __future__ import annotations

from torch import Tensor

from distill_core.protocols import Ask, Condition, Role

DENSE = Ask()


def guided_velocity(
    teacher: Role, noisy_BTCHW: Tensor, t_B: Tensor, condition: Condition, scale: float, ask: Ask = DENSE
) -> Tensor:
    """uncond + s·(cond - uncond) (Ho and Salimans, arXiv 2207.12598, equation 6, with s = w + 1); s = 1 takes one evaluation."""
    cond_BTCHW = teacher.predict_velocity(noisy_BTCHW, t_B, condition, ask)
    if scale == 1.0:
        return cond_BTCHW
    uncond_BTCHW = teacher.predict_velocity(noisy_BTCHW, t_B, teacher.unconditional(condition), ask)
    return uncond_BTCHW + scale * (cond_BTCHW - uncond_BTCHW)
