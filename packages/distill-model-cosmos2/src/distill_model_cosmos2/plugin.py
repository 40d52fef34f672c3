"""What the package offers to distill. Imports neither torch nor diffusers."""

from __future__ import annotations

from distill_core.plugins import ModelSpec, hookimpl
from distill_core.plugins.registry import Registry
from distill_diffusers.options import FlowOptions
from distill_diffusers.spec import flow_family

PLUGIN_API = 2


@hookimpl
def distill_register_models(registry: Registry[ModelSpec]) -> None:
    """Add Cosmos-Predict2."""
    summary = "Cosmos-Predict2 text to image, from diffusers pipeline folders"
    spaces = ("wan2.1-16ch",)
    package, model = "distill_model_cosmos2", "Cosmos2Model"
    notes = f"{package}.noise:notes"
    registry.add(
        flow_family("cosmos2", package, model, summary, FlowOptions, latent_spaces=spaces, features=True, notes=notes)
    )
