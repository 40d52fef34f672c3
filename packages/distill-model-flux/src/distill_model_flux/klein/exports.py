"""What of a FLUX.2 klein's sampling Flux2KleinPipeline does not do."""

from __future__ import annotations

from collections.abc import Iterator

from distill_core.plugins import ModelFacts
from distill_core.protocols import ValidationRequest
from distill_core.protocols.validator import SamplerKind
from distill_diffusers.export_faults import export_faults
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.notes import of_exports
from distill_diffusers.options import FlowOptions
from distill_model_flux.klein.folder import Settings


def klein_faults(facts: DiffusersFacts, request: ValidationRequest, kind: SamplerKind) -> Iterator[str]:
    """Why the pipeline does not sample a role so: as every family, and guidance that it does not apply."""
    yield from export_faults(facts, request, kind, "sigmas")
    if request.guidance_scale in (None, 1.0):
        return
    if facts.folder.settings(Settings).is_distilled:
        yield "Flux2KleinPipeline does not guide a model whose model_index.json says is_distilled; sample it with a guidance scale of 1"
    negative = facts.negative_prompt if request.negative_prompt is None else request.negative_prompt
    if negative:
        yield f"Flux2KleinPipeline leads away from the empty caption alone, not from {negative!r}; leave the negative prompt out"


def notes(facts: ModelFacts, options: FlowOptions, sampling: ValidationRequest | None) -> Iterator[str]:
    """The :class:`distill_core.plugins.specs.RoleNotes` of FLUX.2 klein."""
    return of_exports(facts, options, sampling, klein_faults)
