"""Saying how many parameters there are."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from distill_diffusers.tensor_shapes import Shape


def billions(count: int) -> str:
    """A parameter count as people say it: 14.29B, 612k."""
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}" if unit < 10**9 else f"{count / unit:.2f}{name}"
    return str(count)


def counted(shapes: Mapping[str, Shape]) -> str:
    """The parameters of tensors of these shapes, as people say it."""
    return billions(sum(map(prod, shapes.values())))
