"""The steps of a pipeline whose scheduler counts noise in another way than a flow does, seen as a flow's.

Such a pipeline makes timesteps of its own of a number of steps, and no others: no scheduler's config makes it follow a given grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from distill_core.flow import denoising_grid
from distill_core.flow.walks import Noise, Velocity
from distill_core.protocols import ValidationRequest
from distill_core.protocols.validator import SamplerKind
from distill_diffusers.few_step_grid import TOLERANCE, listed


class OwnSteps(ABC):
    """A family's own.

    Attributes:
        fewest: the fewest steps that the pipeline can be asked for.
    """

    fewest: int = 1

    @abstractmethod
    def grid(self, steps: int) -> tuple[float, ...]:
        """The timesteps, of a flow, at which the pipeline asks its denoiser in so many steps."""
        ...

    @abstractmethod
    def scheduler(self) -> Any:
        """The scheduler that makes them. ``Any``: diffusers' schedulers have no common type."""
        ...

    @abstractmethod
    def walk(self, velocity: Velocity, steps: int, noise: Noise) -> Tensor:
        """From noise to what is clean, [1, T, C, H, W], as the pipeline does."""
        ...

    def makes(self, grid: tuple[float, ...]) -> bool:
        """Whether the pipeline makes these timesteps of their number."""
        if len(grid) < self.fewest:
            return False
        return max(abs(one - other) for one, other in zip(self.grid(len(grid)), grid, strict=True)) <= TOLERANCE

    def faults(self, request: ValidationRequest, kind: SamplerKind) -> Iterator[str]:
        """Why the pipeline cannot follow a request that says its steps, each reason with the way on; nothing if it can."""
        if kind == "sde":
            yield (
                "the pipeline samples along the flow, and never noises anew; train it with the sampler ode (`distill sample` samples "
                "either way)"
            )
        if request.timesteps is None:
            assert request.steps is not None
            reason = self.too_few(request.steps)
            yield from () if reason is None else (reason,)
            return
        grid = denoising_grid(request.timesteps)
        if not self.makes(grid):
            steps = max(self.fewest, len(grid))
            yield (
                f"the pipeline makes its timesteps itself, and not {listed(grid)}: of {steps} steps it makes {listed(self.grid(steps))}; "
                "train on those, or export with --timesteps"
            )

    def too_few(self, steps: int) -> str | None:
        """Why the pipeline cannot be asked for so many steps, or None if it can."""
        return (
            None
            if steps >= self.fewest
            else f"the pipeline makes nothing of {steps} step; ask for {self.fewest} or more"
        )
