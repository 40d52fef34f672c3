"""What the Wan package offers to distill. Imports neither torch nor diffusers: a run that names Wan imports the rest."""

from __future__ import annotations

from distill_core.plugins import ModelSpec, hookimpl
from distill_core.plugins.registry import Registry
from distill_diffusers.lora_layers import lora_support
from distill_diffusers.options import completed
from distill_diffusers.passes.asks import DENSE_ONLY, FRESH_LAYERS, PASS_OPERATIONS
from distill_diffusers.spec import KERNELS, NOTES
from distill_model_wan.config import WanOptions, settled

PLUGIN_API = 2

OPERATIONS = PASS_OPERATIONS | {"decode_pixels", "encode_pixels", "first_frame", "last_frame"}


@hookimpl
def distill_register_models(registry: Registry[ModelSpec]) -> None:
    """Add the Wan family."""
    registry.add(
        ModelSpec(
            name="wan",
            summary="Wan 2.1 T2V, I2V and FLF2V, Wan 2.2 T2V-A14B, I2V-A14B and TI2V-5B, from diffusers pipeline folders",
            options=WanOptions,
            inspect="distill_model_wan.folder:inspect",
            build="distill_model_wan.model:WanModel",
            operations=OPERATIONS,
            attention=("dense", "vsa"),
            dense_only=DENSE_ONLY,
            latent_spaces=("wan2.1-16ch", "wan2.2-48ch"),
            settle=settled,
            complete=completed,
            notes=NOTES["steps"],
            lora=lora_support(fresh=FRESH_LAYERS),
            kernels=KERNELS,
            shared=OPERATIONS - DENSE_ONLY,
            weightless=True,
        )
    )
