"""An exponential moving average of a role's weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from distill_core.training.guarded_adamw import Flag
from distill_core.training.parts import part, parts


class WeightAverage:
    """θ̄ ← d θ̄ + (1 - d) θ after each of the role's optimizer steps; θ̄ = θ up to ``start_step``. Kept in float32.

    Attributes:
        shadow: the averaged weights, by parameter name.
        place: where they live; None is where the weights are. From elsewhere one after another comes to the weights for an update.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        decay: float,
        start_step: int = 0,
        place: torch.device | None = None,
    ) -> None:
        self.decay = decay
        self.start_step = start_step
        self.place = place
        self.shadow = {name: self._placed(parameter.detach().float().clone()) for name, parameter in parameters.items()}
        self._without_negative_zeros()

    def _placed(self, average: Tensor) -> Tensor:
        return average if self.place is None else average.to(self.place)

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor], step: int, flag: Flag | None = None) -> None:
        """Take in the weights after training step ``step``. A broken step, by its ``flag``, leaves the average bitwise as it is."""
        weight = 1.0 if step <= self.start_step else 1.0 - self.decay
        if self.place is not None:
            for name, shadow in self.shadow.items():
                self._move([part(shadow)], [part(parameters[name].detach()).float()], weight, flag)
            return
        shadows, current = (
            parts(self.shadow.values()),
            [part(parameters[name].detach()).float() for name in self.shadow],
        )
        self._move(shadows, current, weight, flag)

    def _move(self, shadows: list[Tensor], current: list[Tensor], weight: float, flag: Flag | None) -> None:
        """A share of the way to the weights, computed where they are."""
        device = current[0].device
        moved = [shadow.to(device) for shadow in shadows]
        if flag is None:
            torch._foreach_lerp_(moved, current, weight)
        else:
            share = weight * flag.applied
            torch._foreach_lerp_(moved, current, [share] * len(current))
            if weight >= 0.5:
                torch._foreach_add_(moved, 0.0)
        for shadow, each in zip(shadows, moved, strict=True):
            if each is not shadow:
                shadow.copy_(each)

    def _without_negative_zeros(self) -> None:
        """A share of 0 leaves every number as it is to the bit, but -0, which would become 0."""
        torch._foreach_add_(parts(self.shadow.values()), 0.0)

    @contextmanager
    def applied(self, parameters: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside, ``parameters`` hold the average; on leaving they are bitwise what they were.

        Weights and average change places, one tensor after another, so that no second copy of all weights is needed; only weights that are
        narrower than the average, which could not hold it, are copied.
        """
        narrow = {
            name: parameter.detach().clone()
            for name, parameter in parameters.items()
            if parameter.dtype != self.shadow[name].dtype
        }
        self._exchange(parameters, narrow.keys())
        try:
            with torch.no_grad():
                for name in narrow:
                    parameters[name].copy_(self.shadow[name])
            yield
        finally:
            self._exchange(parameters, narrow.keys())
            with torch.no_grad():
                for name, trained in narrow.items():
                    parameters[name].copy_(trained)

    @torch.no_grad()
    def _exchange(self, parameters: Mapping[str, Tensor], but: Collection[str]) -> None:
        """Weights become the average, and the average the weights, but for those of the names in ``but``."""
        for name, parameter in parameters.items():
            if name not in but:
                held = parameter.detach().clone()
                parameter.copy_(self.shadow[name])
                self.shadow[name].copy_(held)
