"""What the package offers to distill. Imports neither torch nor diffusers."""

from __future__ import annotations

from distill_core.plugins import ModelSpec, hookimpl
from distill_core.plugins.registry import Registry
from distill_diffusers.lora_layers import MLP, lora_support
from distill_diffusers.options import GuidedOptions
from distill_diffusers.spec import flow_family

PLUGIN_API = 2


@hookimpl
def distill_register_models(registry: Registry[ModelSpec]) -> None:
    """Add FLUX.1."""
    summary = "FLUX.1 text to image, from diffusers pipeline folders"
    spaces = ("flux-16ch",)
    package, model = "distill_model_flux", "FluxModel"
    lora = lora_support(
        mlp=(
            *MLP,
            "*.proj_mlp",
            "*single_transformer_blocks.*.proj_out",
        )
    )
    registry.add(
        flow_family(
            "flux",
            package,
            model,
            summary,
            GuidedOptions,
            latent_spaces=spaces,
            features=True,
            kernels=True,
            lora=lora,
            asks="sigmas",
        )
    )
