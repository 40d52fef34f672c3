"""What the package offers to distill. Imports neither torch nor diffusers."""

from __future__ import annotations

from distill_core.plugins import ModelSpec, hookimpl
from distill_core.plugins.registry import Registry
from distill_diffusers.lora_layers import lora_support
from distill_diffusers.options import FlowOptions, GuidedOptions
from distill_diffusers.spec import flow_family
from distill_diffusers.two_streams import JOINT_MLP

PLUGIN_API = 2


@hookimpl
def distill_register_models(registry: Registry[ModelSpec]) -> None:
    """Add FLUX.1 and FLUX.2 klein."""
    registry.add(
        flow_family(
            "flux",
            "distill_model_flux",
            "FluxModel",
            "FLUX.1 text to image, from diffusers pipeline folders",
            GuidedOptions,
            latent_spaces=("flux-16ch",),
            features=True,
            kernels=True,
            lora=lora_support(mlp=JOINT_MLP),
            asks="sigmas",
        )
    )
    registry.add(
        flow_family(
            "flux2",
            "distill_model_flux.klein",
            "KleinModel",
            "FLUX.2 klein text to image, from diffusers pipeline folders",
            FlowOptions,
            latent_spaces=("flux2-128ch",),
            features=True,
            kernels=True,
            notes="distill_model_flux.klein.exports:notes",
        )
    )
