"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, hookimpl
from distill_matching.needs import CRITIC, STUDENT, TEACHER
from distill_method_sid.config import SgmdOptions, SidOptions

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2

ROLES = {"student": STUDENT, "teacher": TEACHER, "critic": CRITIC}


def demands(options: SidOptions | SgmdOptions) -> Demands:
    """Latents where the rollout starts from data; the student's attention, dense for the others."""
    return Demands(latents=options.rollout == "data_latent", attention={"student": (options.attn_kind,)})


def sid() -> MethodSpec:
    """Score identity distillation."""
    return MethodSpec(
        name="sid",
        summary="score identity distillation of a few-step student: gradients through teacher and critic, data-free or on latents",
        options=SidOptions,
        build="distill_method_sid.method:Sid",
        roles=ROLES,
        demands=demands,
        roles_to_step=SidOptions.roles_to_step,
        sampling=SidOptions.sampling,
        notes=SidOptions.notes,
        guidance=lambda options: {"teacher": options.told_scale},
    )


def sgmd() -> MethodSpec:
    """Score-gradient matching distillation."""
    return MethodSpec(
        name="sgmd",
        summary="score-gradient matching of a few-step student: gradients through the critic, data-free or on latents",
        options=SgmdOptions,
        build="distill_method_sid.method:Sgmd",
        roles=ROLES,
        demands=demands,
        roles_to_step=SgmdOptions.roles_to_step,
        sampling=SgmdOptions.sampling,
        notes=SgmdOptions.notes,
        guidance=lambda options: {"teacher": options.told_scale},
    )


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer SiD and SGMD."""
    registry.add(sid())
    registry.add(sgmd())
