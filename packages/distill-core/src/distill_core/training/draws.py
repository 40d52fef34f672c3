"""Keyed randomness: numbers that follow from a key, never from the position of a stream.

The key of a draw is (seed, step, micro-step, row of the global batch or "shared", name). Uniform numbers are read off a hash of the
key, so they are the same on every device. Normal noise comes from a generator of the run's device that is seeded with the hash: the same on
every run, rank and world size of one device model. (A CPU generator uses the low 32 bits of its seed.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distill_core.randomness import key_bits, key_fraction
from distill_core.transfer import to_device

SHARED = "shared"


@dataclass(frozen=True)
class KeyedDraw:
    """The :class:`distill_core.protocols.Draw` of one micro-step.

    Attributes:
        seed: the run's seed.
        step: the training step, from 1.
        micro_step: the micro-step within it, from 0.
        rows: the rows of the global batch that this rank holds.
        device: where drawn tensors live.
        prefix: put before every name; see :meth:`within`.
    """

    seed: int
    step: int
    micro_step: int
    rows: tuple[int, ...]
    device: torch.device
    prefix: str = ""

    def _key(self, row: int | str, name: str) -> tuple[object, ...]:
        return (self.seed, self.step, self.micro_step, row, self.prefix + name)

    def _fractions(self, name: str) -> list[float]:
        return [key_fraction(*self._key(row, name)) for row in self.rows]

    def _float64(self, values: Sequence[float]) -> Tensor:
        return to_device(torch.tensor(values, dtype=torch.float64), self.device)

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        """Standard normal float32 [B, *shape], an own key per sample."""
        noise = torch.empty((len(self.rows), *shape), dtype=torch.float32, device=self.device)
        generator = torch.Generator(self.device)
        for sample, row in zip(noise, self.rows, strict=True):
            sample.normal_(generator=generator.manual_seed(key_bits(*self._key(row, name))))
        return noise

    def normal_like(self, name: str, like: Tensor) -> Tensor:
        """Standard normal float32 of the shape of ``like``, [B, ...]."""
        return self.normal(name, like.shape[1:])

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> Tensor:
        """float64 [B], uniform in [low, high)."""
        return self._float64([low + (high - low) * u for u in self._fractions(name)])

    def choice(self, name: str, values: Sequence[float]) -> Tensor:
        """float64 [B]: one of ``values`` per sample."""
        return self._float64([values[int(u * len(values))] for u in self._fractions(name)])

    def bernoulli(self, name: str, probability: float) -> Tensor:
        """bool [B], true with ``probability``."""
        return to_device(torch.tensor([u < probability for u in self._fractions(name)]), self.device)

    def shared_index(self, name: str, count: int) -> int:
        """An integer in [0, count), the same on every rank."""
        return int(key_fraction(*self._key(SHARED, name)) * count)

    def within(self, name: str) -> KeyedDraw:
        """The same micro-step; names are put under ``name``."""
        return replace(self, prefix=f"{self.prefix}{name}/")
