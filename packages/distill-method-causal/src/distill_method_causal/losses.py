"""The losses of causal students, as functions of tensors.

B batch, T latent frames, C channels, H W latent rows and columns. x_t = (1 - σ) x0 + σ ε, v = ε - x0; σ = t / 1000 is each frame's own.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frame_errors(one_BTCHW: Tensor, other_BTCHW: Tensor) -> Tensor:
    """mean over C, H and W of (x - y)² of each frame, [B, T]."""
    return ((one_BTCHW.float() - other_BTCHW.float()) ** 2).mean(dim=(2, 3, 4))


def forcing_loss(
    velocity_BTCHW: Tensor, x0_BTCHW: Tensor, noise_BTCHW: Tensor, weight_BT: Tensor | None = None
) -> Tensor:
    """mean over frames of w(t_f) · mean (v - (ε - x0))² (Diffusion Forcing, arXiv 2407.01392, equation 3.1, for the straight path)."""
    error_BT = frame_errors(velocity_BTCHW, noise_BTCHW - x0_BTCHW)
    return error_BT.mean() if weight_BT is None else (weight_BT.to(error_BT) * error_BT).mean()


def bell_weight(timestep: Tensor, table: Tensor) -> Tensor:
    """y(t) - min y, over its mean: y(t) = exp(-2 ((t - 500) / 1000)²), minimum and mean over the timesteps of ``table``.

    What Self-Forcing, FastVideo and LightX2V train by, as "bsmntw". Nothing is learnt where it is 0: at pure noise.
    """

    def bell(t: Tensor) -> Tensor:
        """y."""
        return torch.exp(-2.0 * ((t - 500.0) / 1000.0) ** 2)

    least = bell(table).min()
    return (bell(timestep) - least) / (bell(table) - least).mean()


def regression_loss(x0_BTCHW: Tensor, end_BTCHW: Tensor, counted_BT: Tensor) -> Tensor:
    """mean (x̂0 - x_end)² over the frames that count, of each sample, then over samples (CausVid, arXiv 2412.07772, section 4.3)."""
    error_BT, counted = frame_errors(x0_BTCHW, end_BTCHW), counted_BT.float()
    return ((counted * error_BT).sum(1) / counted.sum(1)).mean()


def consistency_loss(x0_BTCHW: Tensor, target_BTCHW: Tensor) -> Tensor:
    """mean (f(x_t, t) - sg f'(x_r, r))², f the x̂0 of a velocity (Song et al., arXiv 2303.01469, equation 7, with the squared distance)."""
    return torch.mean((x0_BTCHW.float() - target_BTCHW.detach().float()) ** 2)
