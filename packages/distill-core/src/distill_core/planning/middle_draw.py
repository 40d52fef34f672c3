"""A draw that is neither lucky nor unlucky: what is drawn once for all samples is the middle of what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from distill_core.protocols.draw import Draw


@dataclass(frozen=True)
class MiddleDraw:
    """A draw whose shared index is the middle one, the upper of two: neither the shortest rollout nor the longest."""

    draw: Draw

    @property
    def step(self) -> int:
        """The training step."""
        return self.draw.step

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        """As drawn."""
        return self.draw.normal(name, shape)

    def normal_like(self, name: str, like: Tensor) -> Tensor:
        """As drawn."""
        return self.draw.normal_like(name, like)

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0, *, count: int | None = None) -> Tensor:
        """As drawn."""
        return self.draw.uniform(name, low, high, count=count)

    def choice(self, name: str, values: Sequence[float], *, count: int | None = None) -> Tensor:
        """As drawn."""
        return self.draw.choice(name, values, count=count)

    def bernoulli(self, name: str, probability: float, *, count: int | None = None) -> Tensor:
        """As drawn."""
        return self.draw.bernoulli(name, probability, count=count)

    def shared_index(self, name: str, count: int) -> int:
        """The middle of ``count``."""
        return count // 2

    def within(self, name: str) -> MiddleDraw:
        """The same under a name of its own."""
        return MiddleDraw(self.draw.within(name))
