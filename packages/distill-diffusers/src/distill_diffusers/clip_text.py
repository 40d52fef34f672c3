"""CLIP's text encoders, for families that are shown one vector of a caption beside its tokens. Imports no torch."""

from __future__ import annotations

from distill_core.plugins import Column
from distill_diffusers.json_files import Json

POOLED = "pooled"
"""The column of the vector, and its name among the tensors of a condition."""


class ClipConfig(Json):
    """The config.json of a CLIP's text encoder, with transformers' defaults."""

    hidden_size: int = 512
    projection_dim: int = 512


def pooled_column(width: int, of: str = "CLIP") -> Column:
    """The vector, of so many features."""
    return Column(POOLED, (width,), f"the caption as one vector of {of}", "distill data encode", of_caption=True)
