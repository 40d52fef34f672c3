"""Which few-step grids an ordinary diffusers pipeline can follow, and with which two numbers in its scheduler's config.

A pipeline takes a number of steps, no timesteps: its scheduler makes the grid. FlowMatchEulerDiscreteScheduler's has two free
parameters, ``shift`` and ``shift_terminal``: it starts at 1000, ends at 1000 · shift_terminal, and between them lies a Möbius image of
evenly spaced points. This holds every shift-warped uniform grid, every grid of 2 steps, nearly every one of 3, and few others.

Plain arithmetic in float64, to solve for the parameters; that the scheduler really makes the grid is checked where one is built.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from distill_core.errors import ModelFolderError
from distill_core.flow import TRAIN_TIMESTEPS
from distill_diffusers.schedule import Asks

TOLERANCE = 1e-3
"""How far, in timesteps of 1000, an exported grid may be from the one that was trained; float32 resolves 6e-5 there."""

_LOWEST_SHIFT, _HIGHEST_SHIFT = 0.3, 31.0
"""Below, diffusers' float32 misses the first timestep by more than the tolerance. Above, the second timestep no longer rises with
the shift, because diffusers shifts its smallest σ twice."""


@dataclass(frozen=True)
class GridParameters:
    """What to write into the scheduler's config.

    Attributes:
        shift: ``shift``.
        terminal: ``shift_terminal``, the last σ; None for a single step.
    """

    shift: float
    terminal: float | None


def scheduler_grid(parameters: GridParameters, steps: int, asks: Asks = "steps") -> tuple[float, ...]:
    """The timesteps that FlowMatchEulerDiscreteScheduler makes of ``steps``, asked for in the pipeline's way."""
    if asks == "steps":
        smallest = _shifted(1.0 / TRAIN_TIMESTEPS, parameters.shift)
        spacing = (1.0 - smallest) / max(steps - 1, 1)
    else:
        spacing = 1.0 / steps
    sigmas = [_shifted(1.0 - index * spacing, parameters.shift) for index in range(steps)]
    if parameters.terminal is not None:
        stretch = (1.0 - parameters.terminal) / (1.0 - sigmas[-1])
        sigmas = [1.0 - (1.0 - sigma) * stretch for sigma in sigmas]
    return tuple(TRAIN_TIMESTEPS * sigma for sigma in sigmas)


def _shifted(sigma: float, shift: float) -> float:
    return shift * sigma / (1.0 + (shift - 1.0) * sigma)


def solve_grid(grid: tuple[float, ...], asks: Asks = "steps") -> GridParameters:
    """The parameters of a falling grid in (0, 1000]. Raises ModelFolderError, with the nearest grid there is, if it has none."""
    terminal = grid[-1] / TRAIN_TIMESTEPS if len(grid) > 1 else None
    parameters = GridParameters(_solved_shift(grid, terminal, asks) if len(grid) > 2 else 1.0, terminal)
    if _distance(parameters, grid, asks) > TOLERANCE:
        raise ModelFolderError(_refusal(grid, terminal, asks))
    return parameters


def _solved_shift(grid: tuple[float, ...], terminal: float | None, asks: Asks) -> float:
    """Bisection, on a logarithmic scale, for the shift that puts the second timestep in its place."""
    low, high = math.log(_LOWEST_SHIFT), math.log(_HIGHEST_SHIFT)
    for _ in range(80):
        middle = (low + high) / 2.0
        if scheduler_grid(GridParameters(math.exp(middle), terminal), len(grid), asks)[1] < grid[1]:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2.0)


def _distance(parameters: GridParameters, grid: tuple[float, ...], asks: Asks) -> float:
    return max(
        abs(made - wanted) for made, wanted in zip(scheduler_grid(parameters, len(grid), asks), grid, strict=True)
    )


def _nearest(grid: tuple[float, ...], terminal: float | None, asks: Asks) -> GridParameters:
    """The parameters of the closest grid in the mean square: the one through the second timestep, or one of 2000 others."""
    low, high = math.log(_LOWEST_SHIFT), math.log(_HIGHEST_SHIFT)
    shifts = [math.exp(low + (high - low) * index / 1999) for index in range(2000)]
    if len(grid) > 2:
        shifts.append(_solved_shift(grid, terminal, asks))
    candidates = [GridParameters(shift, terminal) for shift in shifts]
    return min(candidates, key=lambda each: math.dist(scheduler_grid(each, len(grid), asks), grid))


def _refusal(grid: tuple[float, ...], terminal: float | None, asks: Asks) -> str:
    nearest = _nearest(grid, terminal, asks)
    made = scheduler_grid(nearest, len(grid), asks)
    return (
        f"no diffusers scheduler follows the timesteps {_listed(grid)}: in {len(grid)} steps it can start at 1000 only, and between that "
        f"and the last timestep it can only warp even spacing by a shift. The nearest grid is {_listed(made)}, up to "
        f"{_distance(nearest, grid, asks):.3g} away; export with that one (--timesteps {_listed(made).replace(', ', ',')}), or train on "
        "a grid that fits"
    )


def _listed(grid: tuple[float, ...]) -> str:
    return ", ".join(f"{timestep:.6g}" for timestep in grid)
