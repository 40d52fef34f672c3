"""What the package offers to distill. Imports neither torch nor diffusers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distill_core.plugins import ModelSpec, hookimpl
from distill_core.plugins.registry import Registry
from distill_diffusers.options import FlowOptions
from distill_diffusers.spec import flow_family

PLUGIN_API = 2


class LtxOptions(FlowOptions):
    """How an LTX-Video model is conditioned and sampled."""

    frame_rate: Annotated[float, Field(gt=0)] = 25.0
    """Frames per second that the model is told, in training and in sampling; what the data's clips have."""
    decode_timestep: Annotated[float, Field(ge=0, le=1)] = 0.05
    """The time of the last denoising, for VAEs that denoise while they decode (0.9.1 and later)."""
    decode_noise_scale: Annotated[float, Field(ge=0, le=1)] = 0.025
    """The share of noise that such a VAE is given."""


@hookimpl
def distill_register_models(registry: Registry[ModelSpec]) -> None:
    """Add LTX-Video."""
    summary = "LTX-Video text to video, from diffusers pipeline folders"
    spaces = ("ltx-128ch",)
    package, model = "distill_model_ltx", "LtxModel"
    registry.add(
        flow_family("ltx", package, model, summary, LtxOptions, latent_spaces=spaces, features=True, asks="sigmas")
    )
