"""What the package offers to distill. Imports neither torch nor diffusers."""

from __future__ import annotations

from distill_core.plugins import ModelSpec, hookimpl
from distill_core.plugins.registry import Registry
from distill_diffusers.options import FlowOptions
from distill_diffusers.spec import flow_family

PLUGIN_API = 2


@hookimpl
def distill_register_models(registry: Registry[ModelSpec]) -> None:
    """Add Stable Diffusion 3."""
    summary = "Stable Diffusion 3 and 3.5 text to image, from diffusers pipeline folders"
    spaces = ("sd3-16ch",)
    registry.add(
        flow_family("sd3", "distill_model_sd3", "Sd3Model", summary, FlowOptions, latent_spaces=spaces, features=True)
    )
