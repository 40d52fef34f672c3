"""Whether models are made of what their folders' JSON files say alone: for ``distill plan``, which wants shapes and no numbers.

A family that says :attr:`~distill_core.plugins.ModelSpec.weightless` asks :func:`is_weightless` where it looks for weights or loads them,
and makes do without: modules of the right shapes, dtypes and layers, of undefined content.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_weightless: ContextVar[bool] = ContextVar("weightless", default=False)


@contextmanager
def weightless() -> Iterator[None]:
    """Inside, no family looks for weights."""
    token = _weightless.set(True)
    try:
        yield
    finally:
        _weightless.reset(token)


def is_weightless() -> bool:
    """Whether weights are left where they are."""
    return _weightless.get()
