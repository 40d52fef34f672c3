"""Options of the metric."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from distill_core.plugins import Options, RewardOptions

Part = Literal["colour", "shape", "motion"]
PARTS: tuple[Part, ...] = ("colour", "shape", "motion")


class ShapesOptions(Options):
    """What the videos are compared with, and from how many on."""

    setting: Literal["small", "medium", "large", "pictures"] = "small"
    """The world's size: 9 frames of 32×32 and one shape, 17 of 64×64 and one, or 17 of 64×64 and up to two, of more kinds;
    or one frame of 32×32 and one shape in a quarter of it."""
    least_clips: Annotated[int, Field(ge=6)] = 48
    """Clips that a set must have for energy distance, coverage and spreads; a smaller one, of which they say little, gets shares alone."""
    reference_seed: Annotated[int, Field(ge=0)] = 1_000_003
    """Seed of the real clips that a set is held against, as many as it has, of its captions; the recipe trains on seed 0."""


class ShapesRewardOptions(RewardOptions):
    """Which world's clips are rewarded, and for what."""

    setting: Literal["small", "medium"] = "small"
    """The world's size: 9 frames of 32×32, or 17 of 64×64. The soft judge looks at one thing, so that the large world has none."""
    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = PARTS
    """What of a clip is rewarded, the mean of these: a part that is right already is better left out, since it is pushed all the same."""

    @field_validator("parts")
    @classmethod
    def _once(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        if len(set(parts)) < len(parts):
            raise ValueError("each part counts once: leave out what is named again")
        return parts
