"""What this package offers to distill. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distill_core.plugins import Demands, MethodSpec, RoleNeed, hookimpl
from distill_core.protocols.validator import ValidationRequest
from distill_method_finetune.config import FinetuneOptions

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2


ALWAYS = frozenset({"predict", "flow_shift"})
STUDENT = RoleNeed(trainable=True, operations=ALWAYS | {"drop_condition"})


def demands(options: FinetuneOptions) -> Demands:
    """Latents, and the student's attention; the empty caption where captions are dropped."""
    student = STUDENT if options.caption_dropout else replace(STUDENT, operations=ALWAYS)
    return Demands(latents=True, attention={"student": (options.attn_kind,)}, roles={"student": student})


def roles_to_step(options: FinetuneOptions, step: int) -> tuple[str, ...]:
    """The student, on every step."""
    return ("student",)


def sampling(options: FinetuneOptions, _: object) -> ValidationRequest:
    """The student on the family's own schedule and sampler; steps and guidance are the run's to say."""
    return ValidationRequest(role="student", attn_kind=options.attn_kind)


@hookimpl
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Offer finetuning."""
    registry.add(
        MethodSpec(
            name="finetune",
            summary="flow-matching finetuning of one model on latents and captions",
            options=FinetuneOptions,
            build="distill_method_finetune.method:Finetune",
            roles={"student": STUDENT},
            demands=demands,
            roles_to_step=roles_to_step,
            sampling=sampling,
        )
    )
