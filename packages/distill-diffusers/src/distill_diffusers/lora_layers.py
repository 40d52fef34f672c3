"""The layers of a pipeline's denoisers that a LoRA can have, known from the headers of its weights. Imports no torch."""

from __future__ import annotations

from functools import partial

from distill_core.errors import ModelFolderError
from distill_core.plugins import ModelFacts
from distill_core.plugins.lora import LoraSupport
from distill_diffusers.facts import diffusers_facts

WEIGHT = ".weight"
ATTENTION = ("*attn*.*",)
"""As diffusers calls attention in its video models."""
MLP = ("*.ff.*", "*.ffn.*", "*.ff_context.*")
"""As it calls what follows attention."""


def lora_support(
    attention: tuple[str, ...] = ATTENTION,
    mlp: tuple[str, ...] = MLP,
    *,
    fresh: tuple[str, ...] = (),
    tables: tuple[str, ...] = (),
) -> LoraSupport:
    """A family's sets of layers, and files as diffusers, peft and others write them.

    ``fresh``: the layers that the family makes anew for some operations. ``tables``: the names, within a layer's, of those that look rows
    up in a table, and are no linear layers.
    """
    return LoraSupport(
        targets={"attention": attention, "attention+mlp": (*attention, *mlp)},
        fresh=fresh,
        layers=partial(linear_layers, tables=tables),
        files="distill_diffusers.lora_files:DiffusersLora",
    )


def linear_layers(facts: ModelFacts, tables: tuple[str, ...] = ()) -> dict[str, tuple[int, int]] | None:
    """Outputs and inputs of the linear layers of a folder's denoisers; None where their weights are not here, which a plan allows and a
    run refuses by itself."""
    known = diffusers_facts(facts)
    found: dict[str, tuple[int, int]] = {}
    for part in known.experts:
        try:
            stored = known.folder.stored(part).tensors
        except ModelFolderError:
            return None
        for name, tensor in stored.items():
            layer = name.removesuffix(WEIGHT)
            if name != layer and len(tensor.shape) == 2 and not set(tables).intersection(layer.split(".")):
                outputs, inputs = tensor.shape
                found[f"{part}.{layer}"] = outputs, inputs
    return found
