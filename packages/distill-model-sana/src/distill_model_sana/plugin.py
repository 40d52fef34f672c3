"""What the package offers to distill. Imports neither torch nor diffusers."""

from __future__ import annotations

from distill_core.plugins import ModelSpec, hookimpl
from distill_core.plugins.registry import Registry
from distill_diffusers.lora_layers import lora_support
from distill_diffusers.options import FlowOptions
from distill_diffusers.spec import flow_family

PLUGIN_API = 2


@hookimpl
def distill_register_models(registry: Registry[ModelSpec]) -> None:
    """Add Sana."""
    summary = "Sana text to image, from diffusers pipeline folders"
    spaces = ("sana-32ch",)
    lora = lora_support(mlp=())  # what follows attention are convolutions
    registry.add(
        flow_family(
            "sana",
            "distill_model_sana",
            "SanaModel",
            summary,
            FlowOptions,
            latent_spaces=spaces,
            features=True,
            lora=lora,
        )
    )
