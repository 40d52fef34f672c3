"""The name and shape of every tensor of a part, written down as modules within modules.

Written down rather than asked of the classes, because those take seconds to import and a folder is looked at before any of that; tests
compare every list with the class itself. Imports no torch, reads no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Shape = tuple[int, ...]
Modules = Mapping[str, "Modules | Shape"]
"""Modules within modules; the leaves are tensors."""


def linear(inputs: int, outputs: int) -> Modules:
    """A linear layer with a bias."""
    return {"weight": (outputs, inputs), "bias": (outputs,)}


def convolution(inputs: int, outputs: int, *kernel: int) -> Modules:
    """A convolution with a bias."""
    return {"weight": (outputs, inputs, *kernel), "bias": (outputs,)}


def numbered(modules: Sequence[Modules]) -> Modules:
    """The modules of a list, by their numbers."""
    return {str(number): module for number, module in enumerate(modules)}


def flat(modules: Modules) -> dict[str, Shape]:
    """Every tensor by its full name."""
    found: dict[str, Shape] = {}
    for name, inner in modules.items():
        if isinstance(inner, tuple):
            found[name] = inner
        else:
            found |= {f"{name}.{rest}": shape for rest, shape in flat(inner).items()}
    return found


def repeated(prefix: str, count: int, tensors: Mapping[str, Shape]) -> dict[str, Shape]:
    """The same tensors of each block of a list, e.g. "transformer_blocks"."""
    return {f"{prefix}.{number}.{name}": shape for number in range(count) for name, shape in tensors.items()}
