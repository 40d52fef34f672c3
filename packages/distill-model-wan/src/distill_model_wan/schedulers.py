"""diffusers' schedulers as this family uses them: a folder's many-step one, and the one that repeats a few-step grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

from distill_core.errors import ModelFolderError
from distill_diffusers.facts import SHIFT_KEYS
from distill_model_wan.few_step_grid import TOLERANCE, solve_grid

# ``Any`` below: diffusers' schedulers have no common type, and are untyped.


def published_scheduler(flow_shift: float) -> UniPCMultistepScheduler:
    """The many-step scheduler that Wan is published with."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=flow_shift
    )


def many_step_scheduler(config: Mapping[str, Any], shift: float) -> Any:
    """A fresh scheduler of the class that ``config`` names, deterministic, under the run's flow shift."""
    name = config["_class_name"]
    options = {**config, SHIFT_KEYS[name]: shift}
    if name == FlowMatchEulerDiscreteScheduler.__name__:
        return FlowMatchEulerDiscreteScheduler.from_config({**options, "stochastic_sampling": False})
    if name == DPMSolverMultistepScheduler.__name__:
        return DPMSolverMultistepScheduler.from_config(options)
    return UniPCMultistepScheduler.from_config(options)


def few_step_scheduler(grid: tuple[float, ...], *, stochastic: bool) -> Any:
    """The scheduler whose ``set_timesteps(len(grid))`` gives ``grid``, to 1e-3 of a timestep in 1000.

    ``stochastic``: every step predicts x0 and noises it anew; an Euler step along the flow otherwise. Raises ModelFolderError for a
    grid that it cannot make.
    """
    parameters = solve_grid(grid)
    scheduler = FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000,
        shift=parameters.shift,
        shift_terminal=parameters.terminal,
        stochastic_sampling=stochastic,
    )
    scheduler.set_timesteps(len(grid))
    made = scheduler.timesteps.tolist()
    if max(abs(one - other) for one, other in zip(made, grid, strict=True)) > TOLERANCE:
        raise ModelFolderError(
            f"diffusers makes the timesteps {made} of the grid {list(grid)}; train on one less extreme"
        )
    return scheduler
