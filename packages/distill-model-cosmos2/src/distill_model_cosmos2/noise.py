"""Cosmos-Predict2's noise, seen as a flow's: x + s ε is (1 + s) times x_t = (1-σ) x0 + σ ε with σ = s / (1 + s)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from distill_core.flow import x0_of
from distill_core.flow.walks import Noise, Velocity
from distill_core.plugins import ModelFacts
from distill_core.protocols import ValidationRequest
from distill_core.protocols.validator import SamplerKind
from distill_diffusers.export_faults import export_faults
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.notes import of_exports
from distill_diffusers.options import FlowOptions
from distill_diffusers.own_steps import OwnSteps
from distill_model_cosmos2.folder import NOISE_LEAST, NOISE_MOST

_NOISE = {"sigma_max": NOISE_MOST, "sigma_min": NOISE_LEAST, "sigma_data": 1.0, "final_sigmas_type": "sigma_min"}
"""What the pipeline writes into its scheduler's config, and the scheduler's class knows nothing of."""


class CosmosSteps(OwnSteps):
    """The pipeline's steps, from s = 80 down; its last one moves nothing, so it takes two or more."""

    fewest = 2

    def __init__(self, facts: DiffusersFacts) -> None:
        config = facts.folder.scheduler
        self._config = {name: value for name, value in config.items() if name not in _NOISE and name[0] != "_"}

    def scheduler(self) -> Any:
        """The folder's, with the noise that the pipeline writes into it."""
        scheduler = FlowMatchEulerDiscreteScheduler.from_config({**self._config, "stochastic_sampling": False})
        scheduler.register_to_config(**_NOISE)
        return scheduler

    def _asked(self, steps: int) -> Any:
        """The scheduler with its timesteps, as the pipeline asks for them."""
        scheduler = self.scheduler()
        scheduler.set_timesteps(sigmas=torch.linspace(0, 1, steps, dtype=torch.float64).numpy())
        scheduler.sigmas[-1] = scheduler.sigmas[-2]
        return scheduler

    def grid(self, steps: int) -> tuple[float, ...]:
        """1000 σ of the pipeline's s."""
        noise = self._asked(steps).sigmas[:-1].double()
        return tuple((1000.0 * noise / (1.0 + noise)).tolist())

    def walk(self, velocity: Velocity, steps: int, noise: Noise) -> Tensor:
        """By diffusers' own arithmetic."""
        scheduler = self._asked(steps)
        scheduler.set_begin_index(0)
        x = noise.draw() * NOISE_MOST
        for timestep, s in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
            t_B = (1000.0 * s.double() / (1.0 + s.double())).view(1)
            x_t = x / (1.0 + s)
            x0 = x0_of(x_t, velocity(x_t, t_B), t_B)
            x = scheduler.step((x - x0) / s, timestep, x, return_dict=False)[0]
        return x


def cosmos_faults(facts: DiffusersFacts, request: ValidationRequest, kind: SamplerKind) -> Iterator[str]:
    """Why the pipeline does not sample a role so: as every family, and a guidance that it takes for none."""
    yield from export_faults(facts, request, kind, "steps", CosmosSteps(facts))
    if request.guidance_scale is not None and 1.0 < request.guidance_scale <= 2.0:
        yield (
            f"the pipeline guides by s - 1, and only where that is above 1, so not by {request.guidance_scale:g}; sample it with 1, or "
            "more than 2"
        )


def notes(facts: ModelFacts, options: FlowOptions, sampling: ValidationRequest | None) -> Iterator[str]:
    """The :class:`distill_core.plugins.specs.RoleNotes` of Cosmos-Predict2."""
    return of_exports(facts, options, sampling, cosmos_faults)
