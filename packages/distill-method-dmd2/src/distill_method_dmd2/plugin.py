"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, RoleNeed, hookimpl
from distill_method_dmd2.config import Dmd2Options

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2


ROLES = {
    "student": RoleNeed(trainable=True, operations=frozenset({"predict", "flow_shift"})),
    "teacher": RoleNeed(trainable=False, operations=frozenset({"predict", "unconditional"})),
    "critic": RoleNeed(trainable=True, operations=frozenset({"predict"})),
}
GAN_ROLES = {
    "teacher": RoleNeed(trainable=False, operations=frozenset({"predict", "unconditional", "features"})),
    "discriminator": RoleNeed(trainable=True, module="distill_method_dmd2.discriminator:Discriminator"),
}


def demands(options: Dmd2Options) -> Demands:
    """Latents where the rollout starts from data, or the GAN needs real clips; the student's attention, dense for the others."""
    gan = options.gan_weight > 0.0
    return Demands(
        latents=gan or options.rollout == "data_latent",
        attention={"student": (options.attn_kind,)},
        roles={**ROLES, **GAN_ROLES} if gan else ROLES,
    )


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer DMD2."""
    registry.add(
        MethodSpec(
            name="dmd2",
            summary="distribution matching distillation of a few-step student, data-free or on latents",
            options=Dmd2Options,
            build="distill_method_dmd2.method:Dmd2",
            roles={**ROLES, "discriminator": replace(GAN_ROLES["discriminator"], optional=True)},
            demands=demands,
            roles_to_step=Dmd2Options.roles_to_step,
            sampling=Dmd2Options.sampling,
            notes=Dmd2Options.notes,
        )
    )
