"""How a family's pipeline asks its scheduler for timesteps, and how it draws noise. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Asks = Literal["steps", "sigmas"]
"""For so many steps; or, of K steps, for σ = 1, 1 - 1/K, …, 1/K, which the scheduler warps."""


@dataclass(frozen=True)
class Schedule:
    """The pipeline's ways.

    Attributes:
        asks: how it asks for timesteps.
        first_noise: the order of dimensions in which its first noise is drawn.
        later_noise: that in which a stochastic scheduler draws, which is that of the latents in the pipeline's loop. Of latents that it
            packs to tokens, a small letter is what lies within one: "HWChw" is tokens of whole channels of patches.
    """

    asks: Asks = "steps"
    first_noise: str = "CTHW"
    later_noise: str = "CTHW"


def shift_of_tokens(config: Mapping[str, Any], tokens: int, steps: int | None = None) -> float:
    """The flow shift of a scheduler that makes it depend on the number of tokens; ``config`` is the scheduler's, with diffusers' defaults.

    ``steps`` change nothing here; other pipelines' shifts depend on them.

    µ rises linearly in the tokens; the shift is e^µ, or µ itself where ``time_shift_type`` is linear (diffusers, calculate_shift and
    FlowMatchEulerDiscreteScheduler.time_shift).
    """
    fewest, most = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    mu = low + (high - low) * (tokens - fewest) / (most - fewest)
    return float(mu) if config.get("time_shift_type", "exponential") == "linear" else math.exp(mu)
