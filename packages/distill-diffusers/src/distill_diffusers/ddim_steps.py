"""A variance-preserving v-prediction model seen as a flow: its velocity, and DDIM's steps (:mod:`distill_diffusers.diffusion_noise`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers import CogVideoXDDIMScheduler
from torch import Tensor

from distill_core.flow import noise_of, x0_of
from distill_core.flow.walks import Noise, Velocity
from distill_core.plugins import ModelFacts
from distill_core.protocols import ValidationRequest
from distill_diffusers.export_faults import export_faults
from distill_diffusers.facts import DiffusersFacts, diffusers_facts
from distill_diffusers.notes import of_exports
from distill_diffusers.options import FlowOptions
from distill_diffusers.own_steps import OwnSteps

VPrediction = Callable[[Tensor, Tensor], Tensor]
"""(x_vp [B, C, T, H, W] of unit variance, the model's own timesteps [B]) to v = √a ε - √(1-a) x0."""


class DdimSteps(OwnSteps):
    """DDIM's steps, from a = 0 down, evenly spaced in the model's own timesteps."""

    def __init__(self, facts: DiffusersFacts) -> None:
        self._config = {name: value for name, value in facts.folder.scheduler.items() if not name.startswith("_")}
        kept = self.scheduler().alphas_cumprod.double().numpy()
        self._sigmas = np.sqrt(1.0 - kept) / (np.sqrt(kept) + np.sqrt(1.0 - kept))  # rises with the model's timestep

    def scheduler(self) -> Any:
        """DDIM, trailing: it begins with pure noise."""
        return CogVideoXDDIMScheduler.from_config(self._config, timestep_spacing="trailing")

    def grid(self, steps: int) -> tuple[float, ...]:
        """1000 σ of DDIM's timesteps."""
        scheduler = self.scheduler()
        scheduler.set_timesteps(steps)
        return tuple((1000.0 * self._sigmas[scheduler.timesteps.numpy()]).tolist())

    def velocity(self, predict: VPrediction, noisy_BCTHW: Tensor, timestep_B: Tensor) -> Tensor:
        """ε - x0 by one v-prediction. The model's own timestep lies between two of its table where need be."""
        own_B = np.interp(timestep_B.double().cpu().numpy() / 1000.0, self._sigmas, np.arange(len(self._sigmas)))
        sigma = (timestep_B / 1000.0).view(-1, 1, 1, 1, 1)
        length = torch.sqrt((1.0 - sigma) ** 2 + sigma**2)  # √a = (1-σ) / length, √(1-a) = σ / length
        x_vp = noisy_BCTHW / length
        v_vp = predict(x_vp, torch.from_numpy(own_B).to(timestep_B))
        x0 = ((1.0 - sigma) * x_vp - sigma * v_vp) / length
        return (sigma * x_vp + (1.0 - sigma) * v_vp) / length - x0

    def walk(self, velocity: Velocity, steps: int, noise: Noise) -> Tensor:
        """DDIM, by diffusers' own arithmetic."""
        scheduler = self.scheduler()
        scheduler.set_timesteps(steps)
        x_vp = noise.draw()
        for timestep in scheduler.timesteps:
            a = scheduler.alphas_cumprod[timestep]
            t_B = torch.tensor([1000.0 * self._sigmas[int(timestep)]], dtype=torch.float64)
            x_t = x_vp / (a.sqrt() + (1.0 - a).sqrt())
            v = velocity(x_t, t_B)
            v_vp = a.sqrt() * noise_of(x_t, v, t_B) - (1.0 - a).sqrt() * x0_of(x_t, v, t_B)
            x_vp = scheduler.step(v_vp, timestep, x_vp, return_dict=False)[0]
        return x_vp


def notes(facts: ModelFacts, options: FlowOptions, sampling: ValidationRequest | None) -> Iterator[str]:
    """The :class:`distill_core.plugins.specs.RoleNotes` of a family of such models."""
    steps = DdimSteps(diffusers_facts(facts))
    return of_exports(facts, options, sampling, partial(export_faults, asks="steps", own_steps=steps))
