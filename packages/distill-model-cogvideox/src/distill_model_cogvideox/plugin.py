"""What the package offers to distill. Imports neither torch nor diffusers."""

from __future__ import annotations

from distill_core.plugins import ModelSpec, hookimpl
from distill_core.plugins.registry import Registry
from distill_diffusers.options import FlowOptions
from distill_diffusers.spec import flow_family

PLUGIN_API = 2


@hookimpl
def distill_register_models(registry: Registry[ModelSpec]) -> None:
    """Add CogVideoX."""
    summary = "CogVideoX text to video, from diffusers pipeline folders"
    spaces = ("cogvideox-16ch",)
    package, model = "distill_model_cogvideox", "CogVideoXModel"
    notes = "distill_diffusers.ddim_steps:notes"
    registry.add(
        flow_family("cogvideox", package, model, summary, FlowOptions, latent_spaces=spaces, features=True, notes=notes)
    )
