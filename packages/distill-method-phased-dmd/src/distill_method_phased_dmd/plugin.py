"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, hookimpl
from distill_matching.needs import CRITIC, STUDENT, TEACHER
from distill_method_phased_dmd.config import PhasedDmdOptions

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2


def demands(options: PhasedDmdOptions) -> Demands:
    """Captions alone; the student's attention, dense for the others."""
    return Demands(latents=False, attention={"student": (options.attn_kind,)})


def spec() -> MethodSpec:
    """What this package offers."""
    return MethodSpec(
        name="phased-dmd",
        summary="distribution matching in two ranges of noise, one expert or both in one run, data-free",
        options=PhasedDmdOptions,
        build="distill_method_phased_dmd.method:PhasedDmd",
        roles={"student": STUDENT, "teacher": TEACHER, "critic": CRITIC},
        demands=demands,
        roles_to_step=PhasedDmdOptions.roles_to_step,
        sampling=PhasedDmdOptions.sampling,
        notes=PhasedDmdOptions.notes,
        guidance=lambda options: {"teacher": options.told_scale},
        misfits=PhasedDmdOptions.misfits,
    )


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer phased DMD."""
    registry.add(spec())
