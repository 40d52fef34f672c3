"""The derivative of a prediction in a direction: for consistency and mean-velocity losses in continuous time.

Exact, in forward mode, by a family that offers "along"; or by two more predictions a little apart, of any family.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from distill_core.flow.arithmetic import TRAIN_TIMESTEPS, shaped_like
from distill_core.protocols.condition import Condition
from distill_core.protocols.prediction import Ask, Prediction, Tangents
from distill_core.protocols.role import Role


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


def predict_along(
    role: Role,
    noisy_BTCHW: Tensor,
    timestep_B: Tensor,
    condition: Condition,
    ask: Ask,
    differences: float | None = None,
) -> Prediction:
    """A role's prediction with its derivative along ``ask.along``: exact, or, with ``differences``, by two more predictions so far to each
    side of it, in units of the tangents' σ (of any family, and under any attention)."""
    assert ask.along is not None
    if differences is None:
        return role.predict(noisy_BTCHW, timestep_B, condition, ask)
    bare = replace(ask, along=None)
    derivative_BTCHW = difference_along(role, noisy_BTCHW, timestep_B, condition, bare, ask.along, differences)
    return replace(role.predict(noisy_BTCHW, timestep_B, condition, bare), derivative=derivative_BTCHW)


@torch.no_grad()
def difference_along(
    role: Role,
    noisy_BTCHW: Tensor,
    timestep_B: Tensor,
    condition: Condition,
    ask: Ask,
    along: Tangents,
    step: float,
) -> Tensor:
    """(v(· + h along) - v(· - h' along)) / (h + h'), with h and h' the ``step``, or less where a time would leave [r, 1]."""
    sigma_B, dsigma_B = timestep_B.double() / TRAIN_TIMESTEPS, along.sigma.double()
    floor_B = torch.zeros_like(sigma_B) if ask.until is None else ask.until.double() / TRAIN_TIMESTEPS
    duntil_B = torch.zeros_like(dsigma_B) if along.until is None else along.until.double()
    ahead_B = _reach(sigma_B, floor_B, dsigma_B, duntil_B, step)
    behind_B = _reach(sigma_B, floor_B, -dsigma_B, -duntil_B, step)

    def moved(by_B: Tensor) -> Tensor:
        """The velocity that far along."""
        x_BTCHW = noisy_BTCHW + (shaped_like(by_B, noisy_BTCHW) * along.noisy).to(noisy_BTCHW.dtype)
        t_B = TRAIN_TIMESTEPS * (sigma_B + by_B * dsigma_B).clamp(0.0, 1.0)
        until_B = None
        if ask.until is not None:
            until_B = torch.minimum(TRAIN_TIMESTEPS * (floor_B + by_B * duntil_B).clamp(0.0, 1.0), t_B)
        return role.predict_velocity(x_BTCHW, t_B, condition, replace(ask, until=until_B)).double()

    apart_B = ahead_B + behind_B
    difference = moved(ahead_B) - moved(-behind_B)
    share = torch.where(apart_B > 0, 1.0 / apart_B.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    return (difference * shaped_like(share, difference)).float()


def _reach(sigma_B: Tensor, until_B: Tensor, dsigma_B: Tensor, duntil_B: Tensor, step: float) -> Tensor:
    """How far one may go in a direction, up to ``step``, with 0 ≤ r ≤ σ ≤ 1 all the way."""
    rooms = (
        (1.0 - sigma_B, dsigma_B),
        (sigma_B, -dsigma_B),
        (sigma_B - until_B, duntil_B - dsigma_B),
        (until_B, -duntil_B),
    )
    reach_B = torch.full_like(sigma_B, step)
    for room_B, speed_B in rooms:
        limit_B = room_B.clamp(min=0.0) / speed_B.clamp(min=torch.finfo(torch.float64).tiny)
        reach_B = torch.where(speed_B > 0, torch.minimum(reach_B, limit_B), reach_B)
    return reach_B
