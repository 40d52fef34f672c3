"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from distill_core.plugins import Column, Demands, MethodSpec, RoleNeed, hookimpl
from distill_method_causal.config import (
    CausalConsistencyOptions,
    CausalKdOptions,
    CausalOptions,
    ForcingOptions,
    TeacherForcingOptions,
    student_steps,
)

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2

SAMPLED = frozenset({"predict", "blocks", "stream", "frame_timesteps"})
"""What a student is asked for when it makes a clip block by block."""


def _student(*operations: str) -> RoleNeed:
    return RoleNeed(trainable=True, operations=SAMPLED | set(operations))


def _demands(*, latents: bool) -> Callable[[CausalOptions], Demands]:
    def demands(options: CausalOptions) -> Demands:
        """Clips of more than one block."""
        return Demands(latents=latents, least_frames=options.least_frames)

    return demands


def _guidance(options: CausalOptions) -> dict[str, float]:
    """Of the teacher, where there is one."""
    if isinstance(options, CausalKdOptions | CausalConsistencyOptions):
        return {"teacher": options.guidance_scale}
    return {}


def _spec(
    name: str, summary: str, options: type[CausalOptions], build: str, roles: Mapping[str, RoleNeed], *, latents: bool
) -> MethodSpec:
    return MethodSpec(
        name=name,
        summary=summary,
        options=options,
        build=f"distill_method_causal.{build}",
        roles=roles,
        demands=_demands(latents=latents),
        roles_to_step=student_steps,
        sampling=lambda chosen, shift: chosen.sampling(shift),
        guidance=_guidance,
    )


FORCED = _student("flow_shift", "drop_condition")
GUIDE = frozenset({"predict", "unconditional"})
CONTEXT = frozenset({"blocks", "clean"})


KD_ROLES = {
    "student": _student("flow_shift"),
    "teacher": RoleNeed(trainable=False, operations=GUIDE | {"flow_shift"}),
}


def kd_demands(options: CausalKdOptions) -> Demands:
    """Captions; paths in the data, where they are stored, and then no teacher."""
    if options.trajectories == "made":
        return Demands(latents=False, least_frames=options.least_frames)
    path = Column(
        "trajectory",
        ("S", "T", "C", "H", "W"),
        "states of the teacher's path from noise to sample, normalised",
        "`distill data trajectories RUN.yaml --source DATA`",
        made_with=options.made_with(),
    )
    roles = {**KD_ROLES, "teacher": replace(KD_ROLES["teacher"], optional=True)}
    return Demands(latents=False, roles=roles, columns=(path,), makers=("teacher",), least_frames=options.least_frames)


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer the four methods."""
    registry.add(
        _spec(
            "diffusion-forcing",
            "flow matching of a causal student, each block at a noise level of its own",
            ForcingOptions,
            "forcing:DiffusionForcing",
            {"student": FORCED},
            latents=True,
        )
    )
    registry.add(
        _spec(
            "teacher-forcing",
            "flow matching of a causal student, each block after clean ones of the data",
            TeacherForcingOptions,
            "forcing:TeacherForcing",
            {"student": _student("flow_shift", "drop_condition", "clean")},
            latents=True,
        )
    )
    kd = _spec(
        "causal-kd",
        "regression of a causal few-step student onto the ends of a teacher's paths, from captions alone",
        CausalKdOptions,
        "kd:CausalKd",
        KD_ROLES,
        latents=False,
    )
    maker = "distill_method_causal.paths:PathMaker"
    registry.add(replace(kd, demands=kd_demands, notes=CausalKdOptions.notes, makes=maker))
    registry.add(
        _spec(
            "causal-consistency",
            "consistency distillation of a causal few-step student on clean context",
            CausalConsistencyOptions,
            "consistency:CausalConsistency",
            {
                "student": _student("flow_shift", "clean"),
                "teacher": RoleNeed(trainable=False, operations=GUIDE | CONTEXT),
                "target": RoleNeed(trainable=False, operations=CONTEXT | {"predict"}, follows="student"),
            },
            latents=True,
        )
    )
