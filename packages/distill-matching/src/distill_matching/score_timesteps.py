"""At which timesteps samples are scored, or judged. B batch; timesteps are float64 [B] in [0, 1000]."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core.flow import TRAIN_TIMESTEPS, shift_timestep
from distill_core.protocols import Batch, Draw, Role
from distill_matching.options import ScoreTimestepOptions
from distill_matching.rollout import StudentSample


def score_timestep(
    student: Role, options: ScoreTimestepOptions, sample: StudentSample, batch: Batch, draw: Draw
) -> Tensor:
    """Drawn, shifted, squeezed, clamped; in host memory, unless their density is that of noise, which the device draws.

    They are squeezed into [floor, ceiling), with the floor a share of the timestep of the step after, and the ceiling the sample's own or
    1000. Sampling noises x̂0 to the floor: what is finer is the later steps' own.
    """
    own, drawn_B = options.score_timesteps.shift, TRAIN_TIMESTEPS * _drawn(options, draw.hosted)
    scored_B = student.shift_timestep(drawn_B, batch.latent_shape) if own is None else shift_timestep(drawn_B, own)
    if options.score_floor or sample.ceiling_B is not None:
        floor_B = options.score_floor * sample.next_B.to(scored_B.device)
        top_B = 1.0 if sample.ceiling_B is None else sample.ceiling_B.to(scored_B.device) / TRAIN_TIMESTEPS
        scored_B = floor_B + (top_B - floor_B / TRAIN_TIMESTEPS) * scored_B
    return scored_B.clamp(*options.scored_within)


def _drawn(options: ScoreTimestepOptions, draw: Draw) -> Tensor:
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
