"""At which timesteps the scores of samples are compared. B batch; timesteps are float64 [B] in [0, 1000]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distill_core.flow import TRAIN_TIMESTEPS, shift_timestep
from distill_core.protocols import Draw
from distill_method_dmd2.config import Dmd2Options

Shift = Callable[[Tensor], Tensor]
"""The run's flow shift of timesteps."""


def score_timestep(options: Dmd2Options, next_B: Tensor, draw: Draw, run_shift: Shift) -> Tensor:
    """Drawn, shifted, squeezed, clamped.

    They are squeezed into [floor, 1000), with the floor a share of ``next_B``, the timestep of the step after. Sampling
    noises x̂0 to there: what is finer is the later steps' own.
    """
    settings = options.score_timesteps
    drawn_B = TRAIN_TIMESTEPS * _drawn(options, draw)
    shifted_B = run_shift(drawn_B) if settings.shift is None else shift_timestep(drawn_B, settings.shift)
    floor_B = options.score_floor * next_B
    squeezed_B = floor_B + (1.0 - floor_B / TRAIN_TIMESTEPS) * shifted_B
    return squeezed_B.clamp(options.min_timestep_ratio * TRAIN_TIMESTEPS, options.max_timestep_ratio * TRAIN_TIMESTEPS)


def _drawn(options: Dmd2Options, draw: Draw) -> Tensor:
    """u before the shift, float64 [B], in [0, 1), or within the ratios."""
    settings = options.score_timesteps
    if settings.density == "logit_normal":
        u_B = torch.sigmoid(settings.logit_mean + settings.logit_std * draw.normal("score_timestep", ()).double())
    else:
        u_B = draw.uniform("score_timestep")
    if settings.bounds == "clamp":
        return u_B
    low, high = options.min_timestep_ratio, options.max_timestep_ratio
    return low + (high - low) * u_B
