"""The derivative of a prediction in a direction, forward mode: for consistency and mean-velocity losses in continuous time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from distill_core.protocols.prediction import Tangents


def derivative_along(velocity: Callable[..., Tensor], at: Sequence[Tensor], along: Tangents) -> Tensor:
    """The derivative of ``velocity(noisy, sigma[, until])`` at ``at`` along the tangents, without a graph.

    A Jacobian-vector product by torch.func.jvp. Attention runs torch's plain kernel meanwhile: the fused ones have no forward mode.
    A second time without a tangent of its own stands still.
    """
    tangents = [along.noisy, along.sigma, *([] if len(at) < 3 else [along.until])]
    given = [
        torch.zeros_like(each) if tangent is None else tangent.to(each)
        for tangent, each in zip(tangents, at, strict=True)
    ]
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        derivative: Tensor = torch.func.jvp(velocity, tuple(at), tuple(given))[1]
    return derivative
