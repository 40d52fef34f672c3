"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, RoleNeed, hookimpl
from distill_matching.needs import CRITIC, DISCRIMINATOR, FEATURE_TEACHER, TEACHER
from distill_method_self_forcing.config import (
    CausalMatchingOptions,
    CausvidOptions,
    LongTuningOptions,
    SelfForcingOptions,
)

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2

STUDENT = RoleNeed(
    trainable=True, operations=frozenset({"predict", "flow_shift", "blocks", "stream", "frame_timesteps"})
)
PIXELS = frozenset({"decode_pixels", "encode_pixels"})
ROLES = {"student": STUDENT, "teacher": TEACHER, "critic": CRITIC}


def _roles(options: CausalMatchingOptions, student: RoleNeed) -> dict[str, RoleNeed]:
    if options.student_loss == "gan":
        features = RoleNeed(trainable=False, operations=frozenset({"predict", "features"}))
        return {"student": student, "teacher": features, "discriminator": DISCRIMINATOR}
    judges = {"teacher": FEATURE_TEACHER, "discriminator": DISCRIMINATOR} if options.judged else {}
    return {**ROLES, "student": student, **judges}


def causvid_demands(options: CausvidOptions) -> Demands:
    """Latents of more than one block."""
    return Demands(latents=True, roles=_roles(options, STUDENT), least_frames=options.block + 1)


def self_forcing_demands(options: SelfForcingOptions) -> Demands:
    """Clips of more than one block, with latents where a discriminator sees real ones; pixels where rollouts are longer than clips."""
    student = replace(STUDENT, operations=STUDENT.operations | PIXELS) if options.extra_blocks else STUDENT
    return Demands(latents=options.judged, roles=_roles(options, student), least_frames=options.block + 1)


SEQUENCES = RoleNeed(trainable=False, module="distill_method_self_forcing.sequences:Sequences", sized=True)


def _told(need: RoleNeed, *operations: str) -> RoleNeed:
    return replace(need, operations=need.operations | {"encode_condition", *operations})


LONG_ROLES = {
    "student": _told(STUDENT, *PIXELS),
    "teacher": _told(TEACHER),
    "critic": _told(CRITIC),
    "sequences": SEQUENCES,
}


def long_tuning_demands(options: LongTuningOptions) -> Demands:
    """Clips of whole blocks, longer than the overlap; one sequence a place."""
    return Demands(latents=False, least_frames=options.overlap + options.block, frames_of=options.block, by_place=True)


def guidance(options: CausalMatchingOptions) -> dict[str, float]:
    """Of the teacher, where its score counts."""
    return {} if options.student_loss == "gan" else {"teacher": options.told_scale}


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer the three."""
    every = {**ROLES, "discriminator": replace(DISCRIMINATOR, optional=True)}
    registry.add(
        MethodSpec(
            name="causvid",
            summary="distribution matching of a causal few-step student, one pass over noised latents",
            options=CausvidOptions,
            build="distill_method_self_forcing.method:causvid",
            roles=every,
            demands=causvid_demands,
            roles_to_step=CausvidOptions.roles_to_step,
            sampling=CausvidOptions.sampling,
            notes=CausvidOptions.notes,
            guidance=guidance,
            misfits=CausvidOptions.misfits,
        )
    )
    registry.add(
        MethodSpec(
            name="self-forcing",
            summary="distribution matching of a causal few-step student on clips that it streams itself, data-free",
            options=SelfForcingOptions,
            build="distill_method_self_forcing.method:self_forcing",
            roles=every,
            demands=self_forcing_demands,
            roles_to_step=SelfForcingOptions.roles_to_step,
            sampling=SelfForcingOptions.sampling,
            notes=SelfForcingOptions.notes,
            guidance=guidance,
            misfits=SelfForcingOptions.misfits,
        )
    )
    registry.add(
        MethodSpec(
            name="streaming-long-tuning",
            summary="self-forcing on one long sequence over many steps, a chunk further at each; data-free",
            options=LongTuningOptions,
            build="distill_method_self_forcing.long_tuning:LongTuning",
            roles=LONG_ROLES,
            demands=long_tuning_demands,
            roles_to_step=LongTuningOptions.roles_to_step,
            sampling=LongTuningOptions.sampling,
            notes=LongTuningOptions.notes,
            guidance=guidance,
        )
    )
