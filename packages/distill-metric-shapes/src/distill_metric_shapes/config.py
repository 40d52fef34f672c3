"""Options of the metric."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from distill_core.plugins import Options


class ShapesOptions(Options):
    """What the videos are compared with."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    setting: Literal["small", "medium", "large"] = "small"
    """The world's size: 9 frames of 32×32 and one shape, 17 of 64×64 and one, or 17 of 64×64 and up to two, of more kinds."""
    reference_clips: Annotated[int, Field(ge=6)] = 288
    """Real clips that are drawn for the distances, of the captions that were sampled. Distances compare at equal numbers only."""
    reference_seed: Annotated[int, Field(ge=0)] = 1_000_003
    """Seed of those clips; the recipe trains on seed 0."""
