"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, RoleNeed, hookimpl
from distill_matching.needs import CRITIC, FEATURE_TEACHER, STUDENT
from distill_method_fdistill.config import FdistillOptions

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2

ROLES = {
    "student": STUDENT,
    "teacher": FEATURE_TEACHER,
    "critic": CRITIC,
    "discriminator": RoleNeed(trainable=True, module="distill_method_fdistill.ratio:RatioDiscriminator"),
}


def demands(options: FdistillOptions) -> Demands:
    """Latents, for the discriminator's real clips; the student's attention, dense for the others."""
    return Demands(latents=True, attention={"student": (options.attn_kind,)})


def spec() -> MethodSpec:
    """What this package offers."""
    return MethodSpec(
        name="fdistill",
        summary="distribution matching of a few-step student under any f-divergence, on latents",
        options=FdistillOptions,
        build="distill_method_fdistill.method:Fdistill",
        roles=ROLES,
        demands=demands,
        roles_to_step=FdistillOptions.roles_to_step,
        sampling=FdistillOptions.sampling,
        notes=FdistillOptions.notes,
        misfits=FdistillOptions.misfits,
        guidance=lambda options: {"teacher": options.told_scale},
    )


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer f-distill."""
    registry.add(spec())
