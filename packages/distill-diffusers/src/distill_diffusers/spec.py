"""A family's spec in one call. Imports no torch."""

from __future__ import annotations

from distill_core.plugins import ModelSpec
from distill_core.plugins.lora import LoraSupport
from distill_diffusers.lora_layers import lora_support
from distill_diffusers.options import FlowOptions, completed, settled
from distill_diffusers.schedule import Asks

OPERATIONS = frozenset(
    {
        "predict",
        "flow_shift",
        "unconditional",
        "unconditional_where",
        "drop_condition",
        "encode_condition",
        "decode_latents",
    }
)
"""What the layer's adapter offers."""


KERNELS = "distill_diffusers.kernels:DiffusersKernels"
"""What attention may be computed by."""

NOTES: dict[Asks, str] = {
    "steps": "distill_diffusers.notes:of_steps",
    "sigmas": "distill_diffusers.notes:of_sigmas",
}
"""What the layer has to say of a role before it is trained, by how the pipeline asks its scheduler for timesteps."""


def flow_family(
    name: str,
    package: str,
    model: str,
    summary: str,
    options: type[FlowOptions],
    *,
    latent_spaces: tuple[str, ...],
    asks: Asks = "steps",
    lora: LoraSupport | None = None,
    notes: str | None = None,
    features: bool = False,
    kernels: bool = False,
) -> ModelSpec:
    """The spec of a family whose ``package`` has ``folder.py`` with ``inspect``, and ``model.py`` with the class ``model``.

    ``notes``: what it has to say of a role before it is trained, where its steps are its own (:mod:`distill_diffusers.own_steps`).
    ``features``: whether its model says where its layers are (``CaptionModel.layers``). ``kernels``: whether its attention, which diffusers
    dispatches, takes no mask, so that any backend can compute it.
    """
    return ModelSpec(
        name=name,
        summary=summary,
        options=options,
        inspect=f"{package}.folder:inspect",
        build=f"{package}.model:{model}",
        operations=OPERATIONS | ({"features"} if features else frozenset()),
        latent_spaces=latent_spaces,
        settle=settled,
        complete=completed,
        lora=lora_support() if lora is None else lora,
        notes=NOTES[asks] if notes is None else notes,
        kernels=KERNELS if kernels else "",
        weightless=True,
    )
