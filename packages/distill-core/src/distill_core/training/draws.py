"""Keyed randomness: numbers that follow from a key, never from the position of a stream.

The key of a draw is (seed, step, micro-step, row of the global batch or "shared", name). Uniform numbers are read off a hash of the
key, so they are the same on every device. Normal noise comes from a generator of the run's device that is seeded with the hash: the same on
every run, rank and world size of one device model. (A CPU generator uses the low 32 bits of its seed.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distill_core.randomness import key_bits, key_fraction
from distill_core.transfer import to_device

SHARED = "shared"


def seed_global(device: torch.device, seed: int) -> None:
    """Seed the global streams that a step on ``device`` may draw from: the CPU's and the device's own.

    torch.manual_seed sets the same ones, but walks over every kind of device that there may be: it takes a hundred times as long.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)


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
        in_host_memory: whether uniform numbers stay where they are made; see :attr:`hosted`.
    """

    seed: int
    step: int
    micro_step: int
    rows: tuple[int, ...]
    device: torch.device
    prefix: str = ""
    in_host_memory: bool = False

    def _key(self, row: int | str, name: str) -> tuple[object, ...]:
        return (self.seed, self.step, self.micro_step, row, self.prefix + name)

    def _each(self, name: str, count: int | None, value: Callable[[float], float | bool], dtype: torch.dtype) -> Tensor:
        """What becomes of a number in [0, 1), [B] or [B, count]; made on the host, so that it costs no sync."""
        columns = [name] if count is None else [f"{name}/{column}" for column in range(count)]
        rows = [[value(key_fraction(*self._key(row, column))) for column in columns] for row in self.rows]
        drawn = torch.tensor(rows, dtype=dtype).view(len(self.rows), *(() if count is None else (count,)))
        return drawn if self.in_host_memory else to_device(drawn, self.device)

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

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0, *, count: int | None = None) -> Tensor:
        """float64 [B] or [B, count], uniform in [low, high)."""
        return self._each(name, count, lambda u: low + (high - low) * u, torch.float64)

    def choice(self, name: str, values: Sequence[float], *, count: int | None = None) -> Tensor:
        """float64 [B] or [B, count]: one of ``values`` each."""
        return self._each(name, count, lambda u: values[int(u * len(values))], torch.float64)

    def bernoulli(self, name: str, probability: float, *, count: int | None = None) -> Tensor:
        """bool [B] or [B, count], true with ``probability``."""
        return self._each(name, count, lambda u: u < probability, torch.bool)

    def shared_index(self, name: str, count: int) -> int:
        """An integer in [0, count), the same on every rank."""
        return int(key_fraction(*self._key(SHARED, name)) * count)

    @property
    def hosted(self) -> KeyedDraw:
        """The same numbers; uniform ones stay in host memory."""
        return replace(self, in_host_memory=True)

    def within(self, name: str) -> KeyedDraw:
        """The same micro-step; names are put under ``name``."""
        return replace(self, prefix=f"{self.prefix}{name}/")
