"""What families read alike from a denoiser's config.json. Imports no torch."""

from collections.abc import Callable, Mapping
from pathlib import Path

from distill_diffusers.json_files import Json, Repeats, read
from distill_diffusers.pipeline_folder import JsonT
from distill_diffusers.tensor_shapes import Shape

UNBOUNDED = 1_000_000
"""Positions of a denoiser that computes them, and looks none up: there are as many as anyone has memory for."""


class DenoiserConfig(Json):
    """The keys by which every denoiser of blocks says its size; a family adds its own, and diffusers' defaults."""

    num_layers: Repeats
    num_attention_heads: int
    attention_head_dim: int

    @property
    def width(self) -> int:
        """Features of one token in the hidden layers."""
        return self.num_attention_heads * self.attention_head_dim


def shapes_of(
    kind: type[JsonT], shapes: Callable[[JsonT], Mapping[str, Shape]]
) -> Callable[[Path], Mapping[str, Shape]]:
    """For :class:`distill_diffusers.pipeline_folder.PipelineKind`: the tensors that a part's config.json, of that kind, calls for."""

    def of_folder(part: Path) -> Mapping[str, Shape]:
        """Of the part in a folder."""
        return shapes(read(kind, part / "config.json"))

    return of_folder
