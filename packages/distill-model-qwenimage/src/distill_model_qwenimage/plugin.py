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
    """Add Qwen-Image."""
    summary = "Qwen-Image text to image, from diffusers pipeline folders"
    spaces = ("qwenimage-16ch",)
    package, model = "distill_model_qwenimage", "QwenImageModel"
    lora = lora_support(mlp=("*.img_mlp.*", "*.txt_mlp.*"))
    own = flow_family(
        "qwenimage", package, model, summary, FlowOptions, latent_spaces=spaces, features=True, lora=lora, asks="sigmas"
    )
    registry.add(own)
