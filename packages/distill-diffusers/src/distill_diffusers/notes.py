"""What a person should know of a role before it is trained: an export that no scheduler can follow, an expert that nothing trains."""

from __future__ import annotations

from collections.abc import Iterator

from distill_core.flow import denoising_grid
from distill_core.plugins import ModelFacts
from distill_core.protocols import ValidationRequest
from distill_diffusers.facts import DiffusersFacts, diffusers_facts
from distill_diffusers.few_step_grid import TOLERANCE, listed, nearest_grid
from distill_diffusers.options import FlowOptions
from distill_diffusers.schedule import Asks


def of_steps(facts: ModelFacts, options: FlowOptions, sampling: ValidationRequest | None) -> Iterator[str]:
    """The :class:`distill_core.plugins.specs.RoleNotes` of a family whose pipeline asks its scheduler for a number of steps."""
    yield from _notes(facts, sampling, "steps")


def of_sigmas(facts: ModelFacts, options: FlowOptions, sampling: ValidationRequest | None) -> Iterator[str]:
    """The same of one whose pipeline asks for σ."""
    yield from _notes(facts, sampling, "sigmas")


def _notes(facts: ModelFacts, sampling: ValidationRequest | None, asks: Asks) -> Iterator[str]:
    if sampling is not None and sampling.timesteps is not None:
        grid = denoising_grid(sampling.timesteps)
        yield from of_grid(grid, asks)
        yield from of_experts(diffusers_facts(facts), grid)


def of_grid(grid: tuple[float, ...], asks: Asks) -> Iterator[str]:
    """A grid that `distill export` will refuse, with the nearest that it takes."""
    near = nearest_grid(grid, asks)
    away = max(abs(one - other) for one, other in zip(near, grid, strict=True))
    if away > TOLERANCE:
        yield (
            f"`distill export` will refuse the timesteps {listed(grid)}: no diffusers scheduler makes them. Nearest is "
            f"[{listed(near)}], up to {away:.3g} away: train on it, or export with --timesteps {listed(near).replace(', ', ',')}"
        )


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
