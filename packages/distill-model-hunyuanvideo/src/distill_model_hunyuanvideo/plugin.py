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
    """Add HunyuanVideo and HunyuanVideo 1.5."""
    registry.add(
        flow_family(
            "hunyuanvideo",
            "distill_model_hunyuanvideo",
            "HunyuanVideoModel",
            "HunyuanVideo text to video, from diffusers pipeline folders",
            GuidedOptions,
            latent_spaces=("hunyuanvideo-16ch",),
            features=True,
            lora=lora_support(mlp=JOINT_MLP),
            asks="sigmas",
        )
    )
    registry.add(
        flow_family(
            "hunyuanvideo15",
            "distill_model_hunyuanvideo.v15",
            "HunyuanVideo15Model",
            "HunyuanVideo 1.5 text to video, from diffusers pipeline folders",
            FlowOptions,
            latent_spaces=("hunyuanvideo1.5-32ch",),
            features=True,
            lora=lora_support(tables=("cond_type_embed",)),
            asks="sigmas",
        )
    )
