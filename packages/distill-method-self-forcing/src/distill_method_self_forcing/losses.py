"""Score identity distillation, as a function of tensors. B batch, T latent frames, C channels, H W latent rows and columns."""

from __future__ import annotations

from torch import Tensor

from distill_matching.losses import FloorAs, floored


def sid_loss(
    x_BTCHW: Tensor,
    real_BTCHW: Tensor,
    fake_BTCHW: Tensor,
    alpha: float = 1.0,
    floor: float = 1e-6,
    floor_as: FloorAs = "max",
    first: int = 0,
) -> Tensor:
    """mean (r - f) · ((r - x) - α (r - f)) / mean |x - r| (SiD, Zhou et al., arXiv 2404.04057, its loss L2 - α L1, in x0 space).

    x is the student's sample; r and f are what teacher and critic make of it noised, with the graph of all three. The divisor is each
    sample's and a constant; the mean is over the frames from ``first`` on.
    """
    apart_BTCHW = real_BTCHW - fake_BTCHW
    distance_B1111 = (x_BTCHW - real_BTCHW).detach().abs().mean(dim=(1, 2, 3, 4), keepdim=True)
    value_BTCHW = apart_BTCHW * ((real_BTCHW - x_BTCHW) - alpha * apart_BTCHW)
    return (value_BTCHW / floored(distance_B1111, floor, floor_as))[:, first:].mean()
