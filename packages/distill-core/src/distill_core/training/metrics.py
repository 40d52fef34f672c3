"""Figures between two log intervals: they stay on the device, and one sync brings their means to the host."""

from __future__ import annotations

import torch
from torch import Tensor


class MetricWindow:
    """Sums scalar tensors by name until :meth:`means` is asked for. A name that is seen less often is averaged over its own count."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Take in one scalar. Raises ValueError for a tensor that is none."""
        if value.numel() != 1:
            raise ValueError(f"metric {name!r} is no scalar: its shape is {tuple(value.shape)}")
        value = value.detach().double().reshape(())
        self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The mean of every name since the last call, with one transfer; the window starts anew."""
        if not self._sums:
            return {}
        sums = torch.stack(list(self._sums.values())).tolist()
        means = {name: total / self._counts[name] for name, total in zip(self._sums, sums, strict=True)}
        self._sums, self._counts = {}, {}
        return means
