"""A role's guided velocity, and the states that its flow goes through: what methods learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from distill_core.errors import DistillError
from distill_core.flow.arithmetic import euler_step
from distill_core.flow.grids import shifted_uniform_grid
from distill_core.protocols.condition import Condition
from distill_core.protocols.prediction import Ask, Prediction
from distill_core.protocols.role import PLAIN, Role
from distill_core.transfer import to_device

SAME = 1e-6
"""Timesteps that are no farther apart are one."""


def timestep_of(timestep: float, samples: Tensor) -> Tensor:
    """One timestep for all of ``samples`` [B, ...], float64 [B]."""
    return torch.full((len(samples),), timestep, dtype=torch.float64, device=samples.device)


def at_once(
    role: Role,
    noisy_BTCHW: Tensor,
    timestep: Tensor,
    condition: Condition,
    rows: Sequence[int],
    ask: Ask = PLAIN,
    *,
    input_gradients: bool = False,
) -> tuple[Prediction, Tensor]:
    """The prediction under ``condition``, and v under the unconditional side of ``rows``, in their order, by one pass of both.

    For a role that guides at once. The same to float rounding as two passes.
    """
    if not rows:
        made = role.predict(noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients)
        return made, made.velocity[:0]
    count = len(noisy_BTCHW)
    both = torch.tensor([*range(count), *rows])

    def of_both(tensor: Tensor) -> Tensor:
        """Of all samples, and of the rows again."""
        return tensor[to_device(both, tensor.device)]

    if ask.until is not None or ask.clean is not None:
        until, clean = (None if each is None else of_both(each) for each in (ask.until, ask.clean))
        ask = replace(ask, until=until, clean=clean)
    conditions = role.unconditional_where(
        condition.select(to_device(both, noisy_BTCHW.device)),
        to_device(torch.arange(len(both)) >= count, noisy_BTCHW.device),
    )
    made = role.predict(of_both(noisy_BTCHW), of_both(timestep), conditions, ask, input_gradients=input_gradients)
    return made.first(count), made.velocity[count:]


def both_sides(
    role: Role,
    noisy_BTCHW: Tensor,
    timestep: Tensor,
    condition: Condition,
    ask: Ask = PLAIN,
    *,
    input_gradients: bool = False,
) -> tuple[Tensor, Tensor]:
    """v under ``condition``, and under its unconditional side: by one pass where the role guides at once, else by two."""
    if role.guides_at_once and not ask.parts & {"along", "stream"}:
        everyone = range(len(noisy_BTCHW))
        made, uncond_BTCHW = at_once(
            role, noisy_BTCHW, timestep, condition, everyone, ask, input_gradients=input_gradients
        )
        return made.velocity, uncond_BTCHW
    cond_BTCHW = role.predict_velocity(noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients)
    negative = role.unconditional(condition)
    uncond_BTCHW = role.predict_velocity(noisy_BTCHW, timestep, negative, ask, input_gradients=input_gradients)
    return cond_BTCHW, uncond_BTCHW


def guided_velocity(
    role: Role,
    noisy_BTCHW: Tensor,
    timestep: Tensor,
    condition: Condition,
    scale: float,
    ask: Ask = PLAIN,
    *,
    input_gradients: bool = False,
) -> Tensor:
    """uncond + s · (cond - uncond) as a velocity (arXiv 2207.12598, equation 6, with s = w + 1).

    s = 1 takes one side's prediction, any other both. Linear, so the same in v, x̂0 and ε̂.
    """
    if scale == 1.0:
        return role.predict_velocity(noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients)
    cond_BTCHW, uncond_BTCHW = both_sides(role, noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients)
    return uncond_BTCHW + scale * (cond_BTCHW - uncond_BTCHW)


def grid_through(grid: Sequence[float], through: Sequence[float]) -> tuple[float, ...]:
    """A falling grid with further timesteps put in where it does not pass through them already, to the bit."""
    others = (t for t in grid if all(abs(t - each) > SAME for each in through))
    return tuple(sorted({*others, *through}, reverse=True))


def flow_states(
    velocity: Callable[[Tensor, Tensor], Tensor], noise_BTCHW: Tensor, grid: Sequence[float], kept: Sequence[float]
) -> Tensor:
    """Euler steps from noise through the timesteps of ``grid`` down to 0: the states at ``kept``, and the end, [B, S + 1, T, C, H, W].

    Raises DistillError unless each of ``kept`` is on the grid to the bit; the grid falls from 1000 and has no closing 0.
    """
    missing = [t for t in kept if t not in grid]
    if missing:
        raise DistillError(f"the grid does not pass through {', '.join(f'{t:g}' for t in missing)}")
    states, x_BTCHW = [], noise_BTCHW
    for timestep, following in pairwise((*grid, 0.0)):
        if timestep in kept:
            states.append(x_BTCHW)
        t_B, next_B = timestep_of(timestep, x_BTCHW), timestep_of(following, x_BTCHW)
        x_BTCHW = euler_step(x_BTCHW, velocity(x_BTCHW, t_B), t_B, next_B)
    return torch.stack([*states, x_BTCHW], dim=1)


@torch.no_grad()
def guided_paths(
    role: Role, noise_BTCHW: Tensor, condition: Condition, kept: Sequence[float], *, steps: int, scale: float
) -> Tensor:
    """The states at ``kept``, and the end, of a guided role's ODE from noise, [B, S + 1, T, C, H, W] (arXiv 2101.02388, section 3).

    ``steps`` Euler steps, evenly spaced before the role's flow shift; ``kept`` are put between them, so no state has to be near enough.
    """
    _, frames, channels, rows, columns = noise_BTCHW.shape
    even = torch.tensor(shifted_uniform_grid(steps, 1.0), dtype=torch.float64)
    grid = grid_through(role.shift_timestep(even, (frames, channels, rows, columns)).tolist(), kept)

    def velocity(x_BTCHW: Tensor, t_B: Tensor) -> Tensor:
        """The guided one."""
        return guided_velocity(role, x_BTCHW, t_B, condition, scale)

    return flow_states(velocity, noise_BTCHW, grid, kept)
