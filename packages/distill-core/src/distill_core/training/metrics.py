"""Figures between two log intervals: they stay on the device, and one sync brings them to the host, where their means are taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill_core.ranks.ranks import ALONE, Ranks

MOST_KEPT = 4096
"""Rows of figures that wait on the device; more are brought to the host before the log interval is over."""


@dataclass
class _Sum:
    """What came of one name so far."""

    total: float = 0.0
    finite: int = 0
    count: int = 0


class MetricWindow:
    """Collects scalar tensors by name until :meth:`means` is asked for. A name that is seen less often is averaged over its own count.

    Nothing is computed on the device: a step's figures are copied into one tensor. What is not finite is left out of means, and counted.

    Attributes:
        left_out: how many values of each name the last call of :meth:`means` left out.
    """

    def __init__(self) -> None:
        self._open: list[tuple[str, Tensor]] = []
        self._rows: list[tuple[tuple[str, ...], Tensor]] = []
        self._sums: dict[str, _Sum] = {}
        self.left_out: dict[str, int] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Take in one scalar, which must keep its number until :meth:`seal`. Raises ValueError for a tensor that is none."""
        if value.numel() != 1:
            raise ValueError(f"metric {name!r} is no scalar: its shape is {tuple(value.shape)}")
        self._open.append((name, value))

    def open_on(self, device: torch.device) -> list[tuple[str, Tensor]]:
        """What was added and lies on such a device, for who copies it with what else there is; the window forgets it."""
        there = [(name, value) for name, value in self._open if value.device.type == device.type]
        self._open = [(name, value) for name, value in self._open if value.device.type != device.type]
        return there

    def seal(self) -> None:
        """Copy what was added: from here on, its tensors may change."""
        if self._open:
            names, values = zip(*self._open, strict=True)
            self._open = []
            self.take(names, row_of(values))

    def take(self, names: tuple[str, ...], values: Tensor) -> None:
        """Take in scalars that are one tensor already, [len(names)]; it may not change any more."""
        self._rows.append((names, values))
        if len(self._rows) == MOST_KEPT:
            self._fetch()

    def _fetch(self) -> None:
        """Bring the rows to the host, with one transfer, and sum them there, in double precision and in their order."""
        if not self._rows:
            return
        names = [name for row, _ in self._rows for name in row]
        values = torch.cat([values for _, values in self._rows]).tolist()
        self._rows = []
        for name, value in zip(names, values, strict=True):
            summed = self._sums.setdefault(name, _Sum())
            summed.count += 1
            if math.isfinite(value):
                summed.total += value
                summed.finite += 1

    def means(self, ranks: Ranks = ALONE) -> dict[str, float]:
        """The mean of every name since the last call, over all ranks, with one transfer; the window starts anew."""
        self.seal()
        self._fetch()
        # Ranks that share clips have the same figures.
        found = _added(ranks.gather(self._sums)[:: ranks.layout.context])
        self.left_out = {name: each.count - each.finite for name, each in found.items() if each.finite < each.count}
        self.clear()
        return {name: each.total / each.finite for name, each in found.items() if each.finite}

    def clear(self) -> None:
        """Start anew."""
        self._open, self._rows, self._sums = [], [], {}


def _added(found: Sequence[dict[str, _Sum]]) -> dict[str, _Sum]:
    """The sums of several ranks as one."""
    first, *others = found
    for sums in others:
        for name, each in sums.items():
            whole = first.setdefault(name, _Sum())
            whole.total, whole.finite, whole.count = (
                whole.total + each.total,
                whole.finite + each.finite,
                whole.count + each.count,
            )
    return first


def row_of(values: tuple[Tensor, ...]) -> Tensor:
    """Scalar tensors as one, [N]: a copy without a graph, in the widest of their dtypes."""
    return torch.stack([value.detach() if value.ndim == 0 else value.detach().reshape(()) for value in values])
