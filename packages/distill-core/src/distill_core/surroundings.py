"""What is in force for the length of a call and read far below it: what a prediction wears, which kernel it attends by, what its pass asks.

A context variable would do, were it not read inside compiled blocks: torch.compile looks into one from torch 2.15 on, and at a plain
attribute in every torch. So it is an attribute, of the process: one prediction at a time, and the backward pass that the caller waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_all: list[Surrounding[Any]] = []


class Surrounding(Generic[T]):
    """One such value, made once, with its module: recomputation looks at all there are.

    Attributes:
        value: what is in force now.
    """

    def __init__(self, value: T) -> None:
        self.value = value
        _all.append(self)

    @contextmanager
    def being(self, value: T) -> Iterator[None]:
        """Inside, ``value`` is in force; what was before, after."""
        before, self.value = self.value, value
        try:
            yield
        finally:
            self.value = before


def as_now() -> Callable[..., Any]:
    """``run(function, *inputs, **named)``, which computes under all that is in force now, context variables too, whenever it is called."""
    context, values = copy_context(), [each.value for each in _all]

    def run(function: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        """The function's answer; what was in force before the call is so after it. One that is newer than all this is left alone."""
        known = _all[: len(values)]
        before = [each.value for each in known]
        _put(known, values)
        try:
            return context.run(function, *inputs, **named)
        finally:
            _put(known, before)

    return run


def _put(surroundings: list[Surrounding[Any]], values: list[Any]) -> None:
    for surrounding, value in zip(surroundings, values, strict=True):
        surrounding.value = value
