"""The steps of a pipeline whose scheduler counts noise in another way than a flow does, seen as a flow's.

Such a pipeline makes timesteps of its own of a number of steps, and no others: no scheduler's config makes it follow a given grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from distill_core.errors import ModelFolderError
from distill_core.flow.walks import Noise, Velocity
from distill_core.protocols import ValidationRequest
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

    def why_not(self, grid: tuple[float, ...]) -> str | None:
        """Why the pipeline cannot follow a grid, with the one that it can, or None if it can."""
        if self.makes(grid):
            return None
        steps = max(self.fewest, len(grid))
        return (
            f"the pipeline makes its timesteps itself, and not {listed(grid)}: of {steps} steps it makes {listed(self.grid(steps))}; "
            "train on those, or export with --timesteps"
        )

    def refuse_too_few(self, steps: int) -> None:
        """Raise ModelFolderError for fewer steps than the pipeline can be asked for."""
        if steps < self.fewest:
            raise ModelFolderError(f"the pipeline makes nothing of {steps} step; ask for {self.fewest} or more")

    def refuse(self, grid: tuple[float, ...], *, stochastic: bool) -> None:
        """Raise ModelFolderError for what the pipeline cannot follow."""
        if stochastic:
            raise ModelFolderError(
                "the pipeline samples along the flow, and never noises anew; train and export it with the "
                "sampler ode (`distill sample` samples either way)"
            )
        if (reason := self.why_not(grid)) is not None:
            raise ModelFolderError(reason)


def notes(own: OwnSteps, sampling: ValidationRequest | None) -> Iterator[str]:
    """What is to be said of a role that is sampled at timesteps which `distill export` will refuse."""
    if sampling is not None and sampling.timesteps is not None:
        reason = own.why_not(tuple(timestep for timestep in sampling.timesteps if timestep))
        if reason is not None:
            yield f"`distill export` will refuse the result: {reason}"
