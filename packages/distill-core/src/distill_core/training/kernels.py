"""The kernel that a role attends by: in force for its predictions, and for what is computed again of them in backward.

A family's switch may be one of the whole process, so it is turned for the length of a prediction and turned back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from distill_core.surroundings import Surrounding

Kernel = Callable[[], AbstractContextManager[None]]
"""Makes what turns a family's switch."""

_current: Surrounding[Kernel | None] = Surrounding(None)


@contextmanager
def attending(kernel: Kernel | None) -> Iterator[None]:
    """Inside, a role attends by its kernel; None: by the family's own choice."""
    with _current.being(kernel), attending_again():
        yield


def attending_again() -> AbstractContextManager[None]:
    """The kernel of the prediction that the context is of, for what is computed after it."""
    kernel = _current.value
    return nullcontext() if kernel is None else kernel()
