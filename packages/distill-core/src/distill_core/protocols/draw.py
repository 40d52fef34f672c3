"""Keyed randomness, as methods see it: every number follows from a key, never from the position of a stream.

The key is (run seed, step, micro-step, row of the global batch or "shared", name of the draw). So a resumed run, another number of
workers or another number of ranks draws the same numbers, and what must agree across ranks agrees by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Draw(Protocol):
    """The randomness of one micro-step. Asking twice for one name gives the same numbers twice."""

    @property
    def step(self) -> int:
        """The training step, counted from 1."""
        ...

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        """Standard normal float32 noise [B, *shape], an own key per sample, on the run's device."""
        ...

    def normal_like(self, name: str, like: Tensor) -> Tensor:
        """Standard normal float32 noise of the shape [B, ...] of ``like``."""
        ...

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0, *, count: int | None = None) -> Tensor:
        """float64 [B], uniform in [low, high), an own key per sample; with ``count``, [B, count], e.g. one of each frame or block."""
        ...

    def choice(self, name: str, values: Sequence[float], *, count: int | None = None) -> Tensor:
        """float64 [B]: one of ``values`` per sample, all equally likely; with ``count``, [B, count]."""
        ...

    def bernoulli(self, name: str, probability: float, *, count: int | None = None) -> Tensor:
        """bool [B], true with ``probability``, an own key per sample; with ``count``, [B, count]."""
        ...

    def shared_index(self, name: str, count: int) -> int:
        """An integer in [0, count), one for the whole batch and for every rank; a host number, so that it costs no sync."""
        ...

    @property
    def hosted(self) -> Draw:
        """The same numbers, but ``uniform``, ``choice`` and ``bernoulli`` stay in host memory.

        For timesteps: whoever has to look at them (which expert, guided or not) need not wait for the device.
        """
        ...

    def within(self, name: str) -> Draw:
        """The same micro-step under a name of its own: its draws do not meet the parent's."""
        ...
