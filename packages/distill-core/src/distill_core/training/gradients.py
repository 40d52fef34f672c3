"""Who gets gradients of a loss: the roles that it names, and nobody else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def untouched(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Inside, a backward pass leaves the gradients of ``parameters`` as they are: what leaks into them is dropped.

    ``backward(inputs=...)`` would be shorter, but gives no gradient at all under FSDP2, whose leaves are not the parameters. Nothing is
    copied, and where nothing leaks nothing is computed.
    """
    held = [(parameter, parameter.grad) for parameter in parameters]
    for parameter, _ in held:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in held:
            parameter.grad = gradient
