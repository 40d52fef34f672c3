"""diffusers' schedulers as flow families use them: a folder's many-step one, asked for its timesteps as the pipeline does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

from distill_core.errors import ModelFolderError
from distill_diffusers.facts import SHIFT_KEYS, DiffusersFacts
from distill_diffusers.schedule import Asks

# ``Any`` below: diffusers' schedulers have no common type, and are untyped.


def flow_shift_of(facts: DiffusersFacts, latent_shape: tuple[int, int, int, int], steps: int | None = None) -> float:
    """The run's flow shift, or what the folder's pipeline makes of latents of [T, C, H, W], in ``steps`` or in training."""
    if facts.flow_shift is not None:
        return facts.flow_shift
    frames, _, rows, columns = latent_shape
    tokens = frames * rows * columns // prod(facts.patch)
    return facts.folder.kind.dynamic_shift(facts.folder.scheduler, tokens, steps)


def sampling_shift_of(
    facts: DiffusersFacts, latent_shape: tuple[int, int, int, int], steps: int | None = None
) -> float:
    """The shift of sampling in a number of steps: its own, or the flow shift."""
    return flow_shift_of(facts, latent_shape, steps) if facts.sampling_shift is None else facts.sampling_shift


def fixed_sampling_shift(facts: DiffusersFacts) -> float | None:
    """The same, or None where it depends on the size of the latents."""
    return facts.flow_shift if facts.sampling_shift is None else facts.sampling_shift


def many_step_scheduler(config: Mapping[str, Any], shift: float | None) -> Any:
    """A fresh scheduler of the class that ``config`` names, deterministic, under the run's flow shift.

    None: the shift that the scheduler itself makes of the number of tokens.
    """
    name = config["_class_name"]
    options = dict(config)
    if shift is not None:
        options[SHIFT_KEYS[name]] = shift
        if "use_dynamic_shifting" in options:
            options["use_dynamic_shifting"] = False
    if name == FlowMatchEulerDiscreteScheduler.__name__:
        return FlowMatchEulerDiscreteScheduler.from_config({**options, "stochastic_sampling": False})
    if name == DPMSolverMultistepScheduler.__name__:
        return DPMSolverMultistepScheduler.from_config(options)
    return UniPCMultistepScheduler.from_config(options)


def why_no_one_step(config: Mapping[str, Any], steps: int) -> str | None:
    """Why a scheduler of this config makes nothing of so many steps, or None if it does: one step of a schedule that is stretched to a last
    σ is 0 divided by 0 in diffusers."""
    if steps > 1 or not config.get("shift_terminal"):
        return None
    return (
        "one step of the folder's own schedule is undefined: its shift_terminal says where the last of several steps is; ask for 2 steps "
        "or more, or name the timestep, e.g. timesteps: [1000]"
    )


def asked(scheduler: Any, asks: Asks, steps: int, shift: float, device: torch.device) -> Any:
    """The scheduler with its timesteps, asked for as the pipeline does; ``shift`` is for one that depends on the number of tokens.

    Raises ModelFolderError for one step of a schedule that makes nothing of it.
    """
    reason = why_no_one_step(scheduler.config, steps)
    if reason is not None:
        raise ModelFolderError(reason)
    dynamic = {"mu": math.log(shift)} if scheduler.config.get("use_dynamic_shifting") else {}
    if asks == "steps":
        scheduler.set_timesteps(steps, device=device, **dynamic)
        return scheduler
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps), device=device, **dynamic)
    return scheduler
