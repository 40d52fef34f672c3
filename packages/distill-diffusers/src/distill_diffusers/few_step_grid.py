"""Which few-step grids an ordinary diffusers pipeline can follow, and with which two numbers in its scheduler's config.

A pipeline takes a number of steps, no timesteps: its scheduler makes the grid. FlowMatchEulerDiscreteScheduler's has two free
parameters, ``shift`` and ``shift_terminal``: it starts at 1000, ends at 1000 · shift_terminal, and between them lies a Möbius image of
evenly spaced points. This holds every shift-warped uniform grid, every grid of 2 steps, nearly every one of 3, and few others.

The parameters are found by asking the scheduler that is installed, so that a diffusers which warps its spacing otherwise is solved for too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from distill_core.errors import ModelFolderError
from distill_core.flow import TRAIN_TIMESTEPS
from distill_diffusers.schedule import Asks
from distill_diffusers.schedulers import asked

TOLERANCE = 1e-3
"""How far, in timesteps of 1000, an exported grid may be from the one that was trained; float32 resolves 6e-5 there."""

_LOWEST_SHIFT, _HIGHEST_SHIFT = 0.3, 31.0
"""Below, diffusers' float32 misses the first timestep by more than the tolerance. Above, the second timestep no longer rises with
the shift, where diffusers shifts its smallest σ twice."""


@dataclass(frozen=True)
class GridParameters:
    """What to write into the scheduler's config.

    Attributes:
        shift: ``shift``.
        terminal: ``shift_terminal``, the last σ; None for a single step.
    """

    shift: float
    terminal: float | None

    def scheduler(self, *, stochastic: bool = False) -> Any:
        """The scheduler. ``Any``: diffusers' schedulers are untyped."""
        return FlowMatchEulerDiscreteScheduler(
            num_train_timesteps=int(TRAIN_TIMESTEPS),
            shift=self.shift,
            shift_terminal=self.terminal,
            stochastic_sampling=stochastic,
        )


def few_step_scheduler(grid: tuple[float, ...], asks: Asks, *, stochastic: bool) -> Any:
    """The scheduler whose timesteps, asked for ``len(grid)`` steps, are ``grid``, to 1e-3 of a timestep in 1000.

    ``stochastic``: every step predicts x0 and noises it anew; an Euler step along the flow otherwise. Raises ModelFolderError for a
    grid that it cannot make, with the nearest that it can.
    """
    return solve_grid(grid, asks).scheduler(stochastic=stochastic)


def scheduler_grid(parameters: GridParameters, steps: int, asks: Asks = "steps") -> tuple[float, ...]:
    """The timesteps that the installed scheduler makes of ``steps``, asked for in the pipeline's way."""
    scheduler = asked(parameters.scheduler(), asks, steps, parameters.shift, torch.device("cpu"))
    return tuple(scheduler.timesteps.tolist())


def solve_grid(grid: tuple[float, ...], asks: Asks = "steps") -> GridParameters:
    """The parameters of a falling grid in (0, 1000]. Raises ModelFolderError, with the nearest grid there is, if it has none."""
    reason = why_unlike(grid, asks)
    if reason is not None:
        raise ModelFolderError(reason)
    return _through_its_ends(grid, asks)


def why_unlike(grid: tuple[float, ...], asks: Asks = "steps") -> str | None:
    """Why no scheduler makes a falling grid in (0, 1000], with the nearest that one makes, or None if one does."""
    if _distance(_through_its_ends(grid, asks), grid, asks) <= TOLERANCE:
        return None
    near = nearest_grid(grid, asks)
    away = max(abs(one - other) for one, other in zip(near, grid, strict=True))
    return (
        f"no diffusers scheduler follows the timesteps {listed(grid)}: in {len(grid)} steps it can start at 1000 only, and between that "
        f"and the last timestep it can only warp even spacing by a shift. The nearest grid is [{listed(near)}], up to {away:.3g} away; "
        f"train on that one, or export with it (--timesteps {listed(near).replace(', ', ',')})"
    )


def nearest_grid(grid: tuple[float, ...], asks: Asks = "steps") -> tuple[float, ...]:
    """The closest grid in the mean square that can be made, in as few digits as it can be said in: said so, it is made."""
    near = scheduler_grid(_nearest(grid, asks), len(grid), asks)
    for digits in range(10):
        said = tuple(round(timestep, digits) for timestep in near)
        falling = all(later < earlier for earlier, later in pairwise(said))
        if falling and said[-1] > 0.0 and _distance(_through_its_ends(said, asks), said, asks) <= TOLERANCE:
            return said
    return near


def _through_its_ends(grid: tuple[float, ...], asks: Asks) -> GridParameters:
    """The parameters of the one grid from 1000 to the last timestep that takes the second one in."""
    terminal = grid[-1] / TRAIN_TIMESTEPS if len(grid) > 1 else None
    if len(grid) <= 2:
        return GridParameters(1.0, terminal)

    def second(shift: float) -> float:
        """The second timestep under this shift, which rises with it."""
        return scheduler_grid(GridParameters(shift, terminal), len(grid), asks)[1]

    # The scheduler computes in float32: a range of shifts makes the same timesteps.
    lowest = _bisected(lambda shift: second(shift) < grid[1])
    highest = _bisected(lambda shift: second(shift) <= grid[1])
    return _plainest(GridParameters(math.sqrt(lowest * highest), terminal), len(grid), asks)


def _plainest(parameters: GridParameters, steps: int, asks: Asks) -> GridParameters:
    """The shift of the fewest digits that makes the same timesteps to the bit."""
    made = scheduler_grid(parameters, steps, asks)
    rounded = (GridParameters(round(parameters.shift, digits), parameters.terminal) for digits in range(1, 12))
    return next((each for each in rounded if scheduler_grid(each, steps, asks) == made), parameters)


def _bisected(too_low: Callable[[float], bool]) -> float:
    """On a logarithmic scale, the shift at which ``too_low`` turns false; 44 halvings are float64's end of it."""
    low, high = math.log(_LOWEST_SHIFT), math.log(_HIGHEST_SHIFT)
    for _ in range(44):
        middle = (low + high) / 2.0
        if too_low(math.exp(middle)):
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2.0)


def _distance(parameters: GridParameters, grid: tuple[float, ...], asks: Asks) -> float:
    made = scheduler_grid(parameters, len(grid), asks)
    return max(abs(one - other) for one, other in zip(made, grid, strict=True))


def _nearest(grid: tuple[float, ...], asks: Asks) -> GridParameters:
    """The parameters of the closest grid in the mean square: the one through the second timestep, or the best of others, refined twice."""
    through = _through_its_ends(grid, asks)

    def away(shift: float) -> float:
        """From the grid to the one under this shift."""
        return math.dist(scheduler_grid(GridParameters(shift, through.terminal), len(grid), asks), grid)

    low, high = math.log(_LOWEST_SHIFT), math.log(_HIGHEST_SHIFT)
    for _ in range(3):
        shifts = [math.exp(low + (high - low) * index / 39) for index in range(40)]
        best = min(shifts, key=away)
        width = (high - low) / 39
        low, high = (
            max(math.log(best) - width, math.log(_LOWEST_SHIFT)),
            min(math.log(best) + width, math.log(_HIGHEST_SHIFT)),
        )
    return GridParameters(min((best, through.shift), key=away), through.terminal)


def listed(grid: tuple[float, ...]) -> str:
    """A grid as it can be read again."""
    return ", ".join(f"{timestep:.9g}" for timestep in grid)
