"""Figures between two log intervals: they stay on the device, and one sync brings their means to the host."""

from __future__ import annotations

import torch
from torch import Tensor


class MetricWindow:
    """Sums scalar tensors by name until :meth:`means` is asked for. A name that is seen less often is averaged over its own count.

    What is not finite is left out of the means, and counted.

    Attributes:
        left_out: how many values of each name the last call of :meth:`means` left out.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._finite: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self.left_out: dict[str, int] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Take in one scalar. Raises ValueError for a tensor that is none."""
        if value.numel() != 1:
            raise ValueError(f"metric {name!r} is no scalar: its shape is {tuple(value.shape)}")
        value = value.detach().double().reshape(())
        finite = value.isfinite()
        value, one = value.where(finite, 0.0), finite.double()
        self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._finite[name] = self._finite[name] + one if name in self._finite else one
        self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The mean of every name since the last call, with one transfer; the window starts anew."""
        self.left_out = {}
        if not self._sums:
            return {}
        stacked = torch.stack([torch.stack(list(self._sums.values())), torch.stack(list(self._finite.values()))])
        sums, finite = stacked.tolist()
        found = dict(zip(self._sums, zip(sums, finite, strict=True), strict=True))
        self.left_out = {
            name: self._counts[name] - int(seen) for name, (_, seen) in found.items() if seen < self._counts[name]
        }
        self.clear()
        return {name: total / seen for name, (total, seen) in found.items() if seen}

    def clear(self) -> None:
        """Start anew."""
        self._sums, self._finite, self._counts = {}, {}, {}
