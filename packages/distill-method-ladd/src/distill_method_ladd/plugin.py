"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, RoleNeed, hookimpl
from distill_matching.needs import DISCRIMINATOR, STUDENT
from distill_method_ladd.config import LaddOptions

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2

TEACHER = RoleNeed(trainable=False, operations=frozenset({"predict", "features"}))


def demands(options: LaddOptions) -> Demands:
    """Latents, for the discriminator's real clips; the student's attention, dense for the teacher."""
    return Demands(latents=True, attention={"student": (options.attn_kind,)})


def spec() -> MethodSpec:
    """What this package offers."""
    return MethodSpec(
        name="ladd",
        summary="adversarial distillation of a few-step student on the teacher's features, on latents",
        options=LaddOptions,
        build="distill_method_ladd.method:Ladd",
        roles={"student": STUDENT, "teacher": TEACHER, "discriminator": DISCRIMINATOR},
        demands=demands,
        roles_to_step=LaddOptions.roles_to_step,
        sampling=LaddOptions.sampling,
        misfits=LaddOptions.misfits,
    )


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer LADD."""
    registry.add(spec())
