"""The layers of a pipeline's denoisers that a LoRA can have, known from JSON and headers. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from distill_core.plugins import ModelFacts
from distill_core.plugins.lora import LoraSupport
from distill_diffusers.facts import diffusers_facts
from distill_diffusers.pipeline_folder import PipelineFolder
from distill_diffusers.tensor_shapes import Shape
from distill_diffusers.weights import stored_tensors

WEIGHT = ".weight"
ATTENTION = ("*attn*.*",)
"""As diffusers calls attention in its video models."""
MLP = ("*.ff.*", "*.ffn.*", "*.ff_context.*")
"""As it calls what follows attention."""


def lora_support(
    attention: tuple[str, ...] = ATTENTION, mlp: tuple[str, ...] = MLP, *, fresh: tuple[str, ...] = ()
) -> LoraSupport:
    """A family's sets of layers, and files as diffusers, peft and others write them.

    ``fresh``: the layers that the family makes anew for some operations.
    """
    return LoraSupport(
        targets={"attention": attention, "attention+mlp": (*attention, *mlp)},
        fresh=fresh,
        layers=linear_layers,
        files="distill_diffusers.lora_files:DiffusersLora",
    )


def linear_layers(facts: ModelFacts) -> tuple[str, ...] | None:
    """The linear layers of a folder's denoisers; None for a hub's whose weights are not here, where nobody has written them down."""
    known = diffusers_facts(facts)
    found: list[str] = []
    for part in known.experts:
        shapes = _shapes(known.folder, part)
        if shapes is None:
            return None
        found += [
            f"{part}.{name.removesuffix(WEIGHT)}" for name, shape in shapes if name.endswith(WEIGHT) and len(shape) == 2
        ]
    return tuple(found)


def _shapes(folder: PipelineFolder, part: str) -> Iterable[tuple[str, Shape]] | None:
    written = folder.kind.shapes.get(part)
    if written is not None:
        return written(folder.path / part).items()
    if folder.hub_id is not None:
        return None
    stored = stored_tensors(folder.path / part, folder.parts[part].library)
    return ((name, tensor.shape) for name, tensor in stored.items())
