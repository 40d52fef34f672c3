"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, RoleNeed, hookimpl
from distill_core.protocols.validator import ValidationRequest
from distill_method_meanflow.config import MeanFlowOptions

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2


def roles_of(options: MeanFlowOptions) -> dict[str, RoleNeed]:
    """The roles under given options, with what they are asked."""
    dropped = {"drop_condition"} if options.caption_dropout else set()
    exact = {"along"} if options.derivative == "jvp" else set()
    student = RoleNeed(trainable=True, operations=frozenset({"predict", "flow_shift", "until", *dropped, *exact}))
    teacher = RoleNeed(trainable=False, operations=frozenset({"predict", "unconditional", *dropped}))
    return {"student": student, "teacher": teacher} if options.velocity == "teacher" else {"student": student}


def demands(options: MeanFlowOptions) -> Demands:
    """Latents, and the roles of the options."""
    return Demands(latents=True, roles=roles_of(options))


def roles_to_step(options: MeanFlowOptions, step: int) -> tuple[str, ...]:
    """The student, on every step."""
    return ("student",)


def sampling(options: MeanFlowOptions, shift: Callable[[float], float]) -> ValidationRequest:
    """The student's own jumps."""
    return options.sampling(shift)


def guidance(options: MeanFlowOptions) -> dict[str, float]:
    """Of the teacher, or of the student by itself."""
    who = {"teacher": "teacher", "mixed": "student"}.get(options.velocity)
    return {} if who is None else {who: options.guidance_scale}


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer MeanFlow."""
    registry.add(
        MethodSpec(
            name="meanflow",
            summary="mean velocities between two times: jumps in one or few steps, from a teacher or from clips",
            options=MeanFlowOptions,
            build="distill_method_meanflow.method:MeanFlow",
            roles=roles_of(MeanFlowOptions()),
            demands=demands,
            roles_to_step=roles_to_step,
            sampling=sampling,
            guidance=guidance,
        )
    )
