"""Clips from noise, step by step without guidance: some steps without a graph, and the rest, where one is wanted, with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Condition, Draw, Role
from distill_method_nft.config import WalkOptions


def grid(role: Role, options: WalkOptions, latent_shape: tuple[int, int, int, int]) -> tuple[float, ...]:
    """The timesteps that clips are sampled at: the options', or so many of the run's shifted schedule."""
    if options.timesteps is not None:
        return options.timesteps
    uniform = torch.linspace(1000.0, 0.0, options.sampling_steps + 1, dtype=torch.float64)[:-1]
    return tuple(role.shift_timestep(uniform, latent_shape).tolist())


@dataclass(frozen=True)
class Walk:
    """How one role goes from a timestep to the next, for one batch.

    Attributes:
        role: who predicts.
        condition: what for.
        options: `rollout_move` and `attn_kind`.
        draw: fresh noises of an sde, by the timestep that they lead to.
    """

    role: Role
    condition: Condition
    options: WalkOptions
    draw: Draw

    def through(self, x_BTCHW: Tensor, steps: Sequence[float]) -> Tensor:
        """From the first of ``steps`` through all of them to the last, where none is made."""
        for here, there in pairwise(steps):
            here_B = self.everywhere(here, x_BTCHW)
            velocity_BTCHW = self.role.predict_velocity(x_BTCHW, here_B, self.condition, Ask(self.options.attn_kind))
            x_BTCHW = self.step(x_BTCHW, velocity_BTCHW, here, there)
        return x_BTCHW

    def step(self, x_BTCHW: Tensor, velocity_BTCHW: Tensor, here: float, there: float) -> Tensor:
        """Along the velocity, or to x̂0 and, unless that is the end, back by fresh noise."""
        here_B, there_B = self.everywhere(here, x_BTCHW), self.everywhere(there, x_BTCHW)
        if self.options.rollout_move == "ode":
            return flow.euler_step(x_BTCHW, velocity_BTCHW, here_B, there_B)
        x0_BTCHW = flow.x0_of(x_BTCHW, velocity_BTCHW, here_B)
        if there == 0.0:
            return x0_BTCHW
        return self.role.add_noise(x0_BTCHW, self.draw.normal_like(f"renoise/{there:g}", x0_BTCHW), there_B)

    @staticmethod
    def everywhere(timestep: float, x_BTCHW: Tensor) -> Tensor:
        """The timestep of each sample, [B]."""
        return torch.full((len(x_BTCHW),), timestep, dtype=torch.float64, device=x_BTCHW.device)
