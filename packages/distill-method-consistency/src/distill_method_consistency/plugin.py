"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, RoleNeed, hookimpl
from distill_core.protocols.validator import ValidationRequest
from distill_method_consistency.config import ConsistencyOptions, ScmOptions, SharedOptions, TcmOptions

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2

STUDENT = RoleNeed(trainable=True, operations=frozenset({"predict", "flow_shift"}))
EXACT_STUDENT = RoleNeed(trainable=True, operations=frozenset({"predict", "flow_shift", "along"}))
TEACHER = RoleNeed(trainable=False, operations=frozenset({"predict", "unconditional"}))
TARGET = RoleNeed(trainable=False, operations=frozenset({"predict"}), follows="student")
CONSISTENT = ("consistency", "scm")
FIRST_STAGE = RoleNeed(trainable=False, operations=frozenset({"predict"}), stage_of=CONSISTENT)
SECOND_STAGE = replace(STUDENT, stage_of=(*CONSISTENT, "tcm"))
VARIANCE = RoleNeed(trainable=True, module="distill_method_consistency.variance:LogVariance")


def _with_teacher(options: SharedOptions, roles: dict[str, RoleNeed]) -> Demands:
    """Latents, and these roles, with a teacher where states move along its flow."""
    return Demands(latents=True, roles={**roles, "teacher": TEACHER} if options.teacher else roles)


def consistency_demands(options: ConsistencyOptions) -> Demands:
    """A target of its own where that is an average."""
    target = {"target": TARGET} if options.target == "average" else {}
    return _with_teacher(options, {"student": STUDENT, **target})


def tcm_demands(options: TcmOptions) -> Demands:
    """The first stage."""
    return _with_teacher(options, {"student": SECOND_STAGE, "first_stage": FIRST_STAGE})


def scm_demands(options: ScmOptions) -> Demands:
    """The exact derivative where it is asked for, the learnt variance where it is."""
    variance = {"logvar": VARIANCE} if options.learn_variance else {}
    student = EXACT_STUDENT if options.derivative == "jvp" else STUDENT
    return _with_teacher(options, {"student": student, **variance})


def student_steps(options: SharedOptions, step: int) -> tuple[str, ...]:
    """The student, on every step."""
    return ("student",)


def scm_steps(options: ScmOptions, step: int) -> tuple[str, ...]:
    """The student and what learns its variance, on every step."""
    return ("student", "logvar") if options.learn_variance else ("student",)


def sampling(options: SharedOptions, shift: Callable[[float], float]) -> ValidationRequest:
    """The student's own steps."""
    return options.sampling(shift)


def guidance(options: SharedOptions) -> dict[str, float]:
    """Of the teacher, where there is one."""
    return {"teacher": options.guidance_scale} if options.teacher else {}


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer the three."""
    registry.add(
        MethodSpec(
            name="consistency",
            summary="consistency model: predictions along a flow agree; with a teacher or from clips, ECT's curriculum",
            options=ConsistencyOptions,
            build="distill_method_consistency.consistency:make",
            roles={"student": STUDENT, "teacher": TEACHER, "target": TARGET},
            demands=consistency_demands,
            roles_to_step=student_steps,
            sampling=sampling,
            guidance=guidance,
        )
    )
    registry.add(
        MethodSpec(
            name="tcm",
            summary="truncated consistency: the second stage of a consistency model, on high noise alone",
            options=TcmOptions,
            build="distill_method_consistency.truncated:Tcm",
            roles={"student": SECOND_STAGE, "teacher": TEACHER, "first_stage": FIRST_STAGE},
            demands=tcm_demands,
            roles_to_step=student_steps,
            sampling=sampling,
            guidance=guidance,
        )
    )
    registry.add(
        MethodSpec(
            name="scm",
            summary="consistency in continuous time on TrigFlow, by the derivative of the student along the flow",
            options=ScmOptions,
            build="distill_method_consistency.continuous:Scm",
            roles={"student": EXACT_STUDENT, "teacher": TEACHER, "logvar": VARIANCE},
            demands=scm_demands,
            roles_to_step=scm_steps,
            sampling=sampling,
            guidance=guidance,
        )
    )
