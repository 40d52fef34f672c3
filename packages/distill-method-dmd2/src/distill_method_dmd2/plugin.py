"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, RoleNeed, hookimpl
from distill_method_dmd2.config import Dmd2Options

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2


def demands(options: Dmd2Options) -> Demands:
    """Latents only where the rollout starts from data; the student's attention, dense for the others."""
    return Demands(latents=options.rollout == "data_latent", attention={"student": (options.attn_kind,)})


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer DMD2."""
    registry.add(
        MethodSpec(
            name="dmd2",
            summary="distribution matching distillation of a few-step student, data-free or on latents",
            options=Dmd2Options,
            build="distill_method_dmd2.method:Dmd2",
            roles={
                "student": RoleNeed(trainable=True, operations=frozenset({"predict", "flow_shift"})),
                "teacher": RoleNeed(trainable=False, operations=frozenset({"predict", "unconditional"})),
                "critic": RoleNeed(trainable=True, operations=frozenset({"predict"})),
            },
            demands=demands,
            roles_to_step=Dmd2Options.roles_to_step,
            sampling=Dmd2Options.sampling,
            notes=Dmd2Options.notes,
        )
    )
