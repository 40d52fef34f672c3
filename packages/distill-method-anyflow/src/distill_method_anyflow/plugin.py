"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, RoleNeed, hookimpl
from distill_matching.needs import CRITIC
from distill_method_anyflow.config import AnyFlowOptions, OnPolicyOptions

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2


def student_of(options: AnyFlowOptions) -> RoleNeed:
    """The student, with what it is asked under given options."""
    guided = options.velocity == "data" and options.map_guidance_scale != 1.0
    dropped = {"drop_condition"} if options.caption_dropout or guided else set()
    exact = {"along"} if options.derivative == "jvp" else set()
    return RoleNeed(trainable=True, operations=frozenset({"predict", "flow_shift", "until", *dropped, *exact}))


def teacher_of(options: AnyFlowOptions) -> RoleNeed:
    """The teacher, likewise."""
    dropped = {"drop_condition"} if options.velocity == "teacher" and options.caption_dropout else set()
    return RoleNeed(trainable=False, operations=frozenset({"predict", "unconditional", *dropped}))


def map_demands(options: AnyFlowOptions) -> Demands:
    """Latents, and a teacher where the velocity is its."""
    teacher = {"teacher": teacher_of(options)} if options.velocity == "teacher" else {}
    return Demands(latents=True, roles={"student": student_of(options), **teacher})


def on_policy_demands(options: OnPolicyOptions) -> Demands:
    """Latents where the first stage's loss is kept, a teacher and a critic."""
    roles = {"student": student_of(options), "teacher": teacher_of(options), "critic": CRITIC}
    return Demands(latents=options.map_weight > 0.0, roles=roles)


def map_guidance(options: AnyFlowOptions) -> dict[str, float]:
    """Of the teacher, or of the student by itself."""
    return {"teacher" if options.velocity == "teacher" else "student": options.map_guidance_scale}


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer both stages."""
    first, second = AnyFlowOptions(), OnPolicyOptions()
    registry.add(
        MethodSpec(
            name="anyflow",
            summary="a flow map: jumps between any two times, so that one student is sampled in any number of steps",
            options=AnyFlowOptions,
            build="distill_method_anyflow.flow_map:FlowMap",
            roles={"student": student_of(first), "teacher": teacher_of(first)},
            demands=map_demands,
            roles_to_step=AnyFlowOptions.map_roles,
            sampling=AnyFlowOptions.sampling,
            guidance=map_guidance,
        )
    )
    registry.add(
        MethodSpec(
            name="anyflow-on-policy",
            summary="its second stage: distribution matching on the map's own samples, at any number of steps",
            options=OnPolicyOptions,
            build="distill_method_anyflow.on_policy:OnPolicy",
            roles={"student": student_of(second), "teacher": teacher_of(second), "critic": CRITIC},
            demands=on_policy_demands,
            roles_to_step=OnPolicyOptions.roles_to_step,
            sampling=OnPolicyOptions.sampling,
            notes=OnPolicyOptions.notes,
            guidance=lambda options: {**map_guidance(options), "teacher": options.told_scale},
        )
    )
