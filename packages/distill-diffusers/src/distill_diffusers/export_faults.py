"""Why no pipeline of diffusers samples a role as it is sampled: all of it, in the same words before training and by the export."""

from __future__ import annotations

from collections.abc import Iterator

from distill_core.flow import denoising_grid, shifted_uniform_grid
from distill_core.protocols import ValidationRequest
from distill_core.protocols.adapter import PICTURES
from distill_core.protocols.validator import SamplerKind
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.few_step_grid import why_unlike
from distill_diffusers.own_steps import OwnSteps
from distill_diffusers.schedule import Asks
from distill_diffusers.schedulers import fixed_sampling_shift, why_no_one_step

STREAM_PARTS = ValidationRequest("", blocks=1).parts
"""What sampling block by block asks of predictions: no pipeline does it, and `distill sample` does it from an export."""


def export_faults(
    facts: DiffusersFacts,
    request: ValidationRequest,
    kind: SamplerKind,
    asks: Asks,
    own_steps: OwnSteps | None = None,
) -> Iterator[str]:
    """Each reason with the way on, for a request that leaves neither steps nor guidance open; nothing if diffusers can follow it.

    A grid that follows from the size of the latents is not judged.
    """
    beyond = request.parts - STREAM_PARTS - set(PICTURES)
    if beyond:
        yield (
            f"no pipeline of diffusers samples with {', '.join(sorted(beyond))}, as this role is sampled, so it has no export; "
            "`distill sample` samples it from the run's directory"
        )
        return
    yield from _of_guidance(*guidance_of(facts, request))
    if own_steps is not None:
        yield from own_steps.faults(request, kind)
    elif request.timesteps is None and kind == "ode":
        assert request.steps is not None
        reason = why_no_one_step(facts.folder.scheduler, request.steps)
        yield from () if reason is None else (reason,)
    elif request.blocks is None:  # distill walks any grid by itself
        grid = _grid(facts, request)
        reason = None if grid is None else why_unlike(grid, asks)
        yield from () if reason is None else (reason,)


def guidance_of(facts: DiffusersFacts, request: ValidationRequest) -> tuple[float, float | None]:
    """Both experts' guidance scales, the second where there is one."""
    guidance = 1.0 if request.guidance_scale is None else request.guidance_scale
    return guidance, None if facts.boundary is None else request.low_noise_guidance_scale


def _of_guidance(guidance: float, low_noise: float | None) -> Iterator[str]:
    """Scales that no pipeline applies."""
    if min(guidance, guidance if low_noise is None else low_noise) < 1.0:
        yield (
            f"diffusers applies no guidance scale below 1, got {guidance if low_noise is None else (guidance, low_noise)}; "
            "sample it with 1 or more"
        )
    if guidance == 1.0 and low_noise not in (None, 1.0):
        yield f"diffusers guides no expert where the first has a guidance scale of 1, and the second has {low_noise}; give the first more"


def _grid(facts: DiffusersFacts, request: ValidationRequest) -> tuple[float, ...] | None:
    """The timesteps; None where they follow from the size of the latents."""
    if request.timesteps is not None:
        return denoising_grid(request.timesteps)
    shift = fixed_sampling_shift(facts)
    assert request.steps is not None
    return None if shift is None else shifted_uniform_grid(request.steps, shift)
