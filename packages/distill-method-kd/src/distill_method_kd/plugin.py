"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distill_core.plugins import Column, Demands, MethodSpec, RoleNeed, hookimpl
from distill_core.protocols.validator import ValidationRequest
from distill_method_kd.config import KdOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from distill_core.plugins.registry import Registry

PLUGIN_API = 2

STUDENT = RoleNeed(trainable=True, operations=frozenset({"predict", "flow_shift"}))
TEACHER = RoleNeed(trainable=False, operations=frozenset({"predict", "flow_shift", "unconditional"}))


MADE_BY = "`distill data trajectories RUN.yaml --source DATA`"
"""The command that makes the column."""


def demands(options: KdOptions) -> Demands:
    """Captions and the student's attention; paths in the data, where they are stored, and then no teacher."""
    attention = {"student": (options.attn_kind,)}
    if options.trajectories == "made":
        return Demands(latents=False, attention=attention)
    path = Column(
        "trajectory",
        ("S", "T", "C", "H", "W"),
        "states of the teacher's path from noise to sample, normalised",
        MADE_BY,
        made_with=options.made_with(),
    )
    roles = {"student": STUDENT, "teacher": replace(TEACHER, optional=True)}
    return Demands(latents=False, attention=attention, roles=roles, columns=(path,), makers=("teacher",))


def roles_to_step(options: KdOptions, step: int) -> tuple[str, ...]:
    """The student, on every step."""
    return ("student",)


def sampling(options: KdOptions, shift: Callable[[float], float]) -> ValidationRequest:
    """The student's own steps."""
    return options.sampling(shift)


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer knowledge distillation."""
    registry.add(
        MethodSpec(
            name="kd",
            summary="regression of a few-step student onto its teacher's ODE paths, from captions alone",
            options=KdOptions,
            build="distill_method_kd.method:Kd",
            roles={"student": STUDENT, "teacher": TEACHER},
            demands=demands,
            roles_to_step=roles_to_step,
            sampling=sampling,
            notes=KdOptions.notes,
            guidance=lambda options: {"teacher": options.guidance_scale},
            makes="distill_method_kd.paths:PathMaker",
        )
    )
