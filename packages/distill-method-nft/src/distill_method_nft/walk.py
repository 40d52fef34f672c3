"""Clips along the flow, in Euler steps without guidance: some steps without a graph, and the rest, where one is wanted, with it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Condition, Role
from distill_method_nft.config import WalkOptions


def grid(role: Role, options: WalkOptions, latent_shape: tuple[int, int, int, int]) -> tuple[float, ...]:
    """The timesteps that clips are sampled at: the options', or so many of the run's shifted schedule."""
    if options.timesteps is not None:
        return options.timesteps
    uniform = torch.linspace(1000.0, 0.0, options.sampling_steps + 1, dtype=torch.float64)[:-1]
    return tuple(role.shift_timestep(uniform, latent_shape).tolist())


def walked(role: Role, x_BTCHW: Tensor, condition: Condition, steps: Sequence[float], attn_kind: str) -> Tensor:
    """Euler steps from the first of ``steps`` through all of them to the last, where none is made."""
    for here, there in pairwise(steps):
        here_B, there_B = (
            torch.full((len(x_BTCHW),), each, dtype=torch.float64, device=x_BTCHW.device) for each in (here, there)
        )
        velocity_BTCHW = role.predict_velocity(x_BTCHW, here_B, condition, Ask(attn_kind))
        x_BTCHW = flow.euler_step(x_BTCHW, velocity_BTCHW, here_B, there_B)
    return x_BTCHW
