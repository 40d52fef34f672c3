"""Which few-step grids a diffusers scheduler can be made to follow: checked against the scheduler itself."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_core.errors import ModelFolderError
from distill_core.flow import shifted_uniform_grid
from distill_diffusers.few_step_grid import TOLERANCE, GridParameters, few_step_scheduler, nearest_grid, solve_grid
from distill_diffusers.schedule import Asks


def made(grid: tuple[float, ...]) -> list[float]:
    scheduler = few_step_scheduler(grid, "steps", stochastic=True)
    scheduler.set_timesteps(len(grid))
    timesteps: list[float] = scheduler.timesteps.tolist()
    return timesteps


@pytest.mark.parametrize(
    ("grid", "shift", "terminal"),
    [
        ((1000.0, 750.0, 500.0, 250.0), 1.0, 0.25),
        ((1000.0, 937.5, 833.3333333, 625.0), 2.509456, 0.625),
        ((1000.0, 960.0, 888.8888889, 727.2727273), 2.925446, 0.727273),
        (shifted_uniform_grid(8, 3.0), 2.408127, 0.3),
        ((1000.0, 757.0, 522.0), 0.967047, 0.522),
    ],
    ids=["uniform", "shift5", "shift8", "shift3-8-steps", "fastwan"],
)
def test_published_grids_are_solved(grid: tuple[float, ...], shift: float, terminal: float) -> None:
    parameters = solve_grid(grid)
    assert parameters.shift == pytest.approx(shift, abs=2e-5)
    assert parameters.terminal == pytest.approx(terminal, abs=1e-6)
    assert made(grid) == pytest.approx(grid, abs=TOLERANCE)


def test_one_step_has_no_terminal() -> None:
    assert solve_grid((1000.0,)) == GridParameters(1.0, None)
    assert made((1000.0,)) == [1000.0]


@given(st.floats(1.0, 990.0))
def test_any_two_steps_are_solved(last: float) -> None:
    assert made((1000.0, last)) == pytest.approx((1000.0, last), abs=TOLERANCE)


@given(st.floats(10.0, 600.0), st.floats(0.25, 0.9))
def test_nearly_any_three_steps_are_solved(last: float, part: float) -> None:
    grid = (1000.0, last + part * (1000.0 - last), last)
    assert made(grid) == pytest.approx(grid, abs=TOLERANCE)


@given(st.floats(0.5, 15.0), st.integers(2, 12))
def test_every_shifted_uniform_grid_is_solved(shift: float, steps: int) -> None:
    grid = shifted_uniform_grid(steps, shift)
    assert made(grid) == pytest.approx(grid, abs=TOLERANCE)


@pytest.mark.parametrize("asks", ["steps", "sigmas"])
@pytest.mark.parametrize(
    "grid",
    [
        (999.0, 750.0, 500.0, 250.0),
        (999.0, 937.0, 833.0, 624.0),
        (1000.0, 750.0, 500.0, 250.0, 125.0),
        (1000.0, 850.0, 700.0, 550.0, 350.0, 275.0, 200.0, 125.0),
        (1000.0, 900.0, 600.0, 100.0),
    ],
    ids=["rfc", "fastgen", "self-forcing", "fastvideo-8-step", "any"],
)
def test_the_grid_that_is_advised_is_accepted_as_it_is_printed(grid: tuple[float, ...], asks: Asks) -> None:
    with pytest.raises(ModelFolderError) as refused:
        solve_grid(grid, asks)
    (advised,) = re.findall(r"--timesteps (\S+)\)", str(refused.value))
    near = tuple(float(timestep) for timestep in advised.split(","))
    assert near == nearest_grid(grid, asks)
    solve_grid(near, asks)
    assert max(abs(one - other) for one, other in zip(near, grid, strict=True)) < 150


@pytest.mark.parametrize(
    ("grid", "nearest"),
    [
        ((999.0, 750.0, 500.0, 250.0), r"1000, 750, 500, 250\], up to 1 away; train on that one, or export with it"),
        ((999.0,), "1000"),
        ((1000.0, 900.0, 600.0, 100.0), "1000, "),
        ((1000.0, 999.0, 100.0), "1000, "),
    ],
)
def test_a_grid_that_cannot_be_made_is_refused_with_the_nearest(grid: tuple[float, ...], nearest: str) -> None:
    with pytest.raises(ModelFolderError, match=rf"The nearest grid is \[{nearest}"):
        solve_grid(grid)
