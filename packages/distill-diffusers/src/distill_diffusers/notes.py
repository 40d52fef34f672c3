"""What a person should know of a role before it is trained: an export that will be refused, an expert that nothing trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from distill_core.flow import denoising_grid
from distill_core.plugins import ModelFacts
from distill_core.protocols import ValidationRequest
from distill_core.protocols.validator import SamplerKind
from distill_diffusers.export_faults import export_faults
from distill_diffusers.facts import DiffusersFacts, diffusers_facts
from distill_diffusers.few_step_grid import listed
from distill_diffusers.options import FlowOptions

ExportFaults = Callable[[DiffusersFacts, ValidationRequest, SamplerKind], Iterator[str]]
"""A family's :meth:`distill_diffusers.model.DiffusersModel.export_faults`, told of settled facts, before there is a model."""


def of_steps(facts: ModelFacts, options: FlowOptions, sampling: ValidationRequest | None) -> Iterator[str]:
    """The :class:`distill_core.plugins.specs.RoleNotes` of a family whose pipeline asks its scheduler for a number of steps."""
    return of_exports(facts, options, sampling, partial(export_faults, asks="steps"))


def of_sigmas(facts: ModelFacts, options: FlowOptions, sampling: ValidationRequest | None) -> Iterator[str]:
    """The same of one whose pipeline asks for σ."""
    return of_exports(facts, options, sampling, partial(export_faults, asks="sigmas"))


def of_exports(
    facts: ModelFacts, options: FlowOptions, sampling: ValidationRequest | None, faults: ExportFaults
) -> Iterator[str]:
    """The same of one whose exports are refused for these faults."""
    if sampling is None:
        return
    known = diffusers_facts(facts)
    for fault in faults(known, sampling, options.sampler_kind if sampling.sampler is None else sampling.sampler):
        yield f"`distill export` will refuse the result: {fault}"
    if sampling.timesteps is not None:
        yield from of_experts(known, denoising_grid(sampling.timesteps))


def of_experts(facts: DiffusersFacts, grid: tuple[float, ...]) -> Iterator[str]:
    """An expert on whose side of the boundary no timestep of the grid lies: it would neither be trained nor sampled."""
    if facts.boundary is None:
        return
    sides = (all(timestep < facts.boundary for timestep in grid), all(timestep >= facts.boundary for timestep in grid))
    for expert, idle in zip(facts.experts, sides, strict=True):
        if idle:
            where = "from" if expert == facts.experts[0] else "below"
            yield (
                f"{expert} denoises {where} {facts.boundary:g}, where none of the timesteps {listed(grid)} lies: it is not trained, and "
                "keeps the weights that it starts from"
            )
