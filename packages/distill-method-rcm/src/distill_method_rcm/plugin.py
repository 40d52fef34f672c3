"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, RoleNeed, hookimpl
from distill_matching.needs import CRITIC, STUDENT, TEACHER
from distill_method_rcm.config import RcmOptions

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2

EXACT_STUDENT = RoleNeed(trainable=True, operations=STUDENT.operations | {"along"})
ROLES = {"student": EXACT_STUDENT, "teacher": TEACHER, "critic": CRITIC}


def demands(options: RcmOptions) -> Demands:
    """Latents, the exact derivative where it is asked for, and the student's attention."""
    student = EXACT_STUDENT if options.derivative == "jvp" else STUDENT
    return Demands(latents=True, attention={"student": (options.attn_kind,)}, roles={**ROLES, "student": student})


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer rCM."""
    registry.add(
        MethodSpec(
            name="rcm",
            summary="consistency in continuous time, then with distribution matching: varied and sharp in 1 to 4 steps",
            options=RcmOptions,
            build="distill_method_rcm.method:Rcm",
            roles=ROLES,
            demands=demands,
            roles_to_step=RcmOptions.roles_to_step,
            sampling=RcmOptions.sampling,
            notes=RcmOptions.notes,
            guidance=lambda options: {"teacher": options.told_scale},
        )
    )
