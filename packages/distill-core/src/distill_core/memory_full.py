"""Memory that ran out, on a device or on the host: no plugin is at fault in whose code it happens to be noticed.

Knows torch's errors by their names, and so imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distill_core.errors import MemoryFullError

_SENTENCES = slice(1, 3)
"""Of what torch says of a device: how much was asked for, and how much there is. Advice on its allocator follows."""


def ran_out(error: BaseException) -> str | None:
    """What was asked for and what there is, if ``error`` is memory that ran out; None for any other error."""
    words = " ".join(str(error).split())
    if type(error).__name__ == "OutOfMemoryError":
        return ". ".join(words.split(". ")[_SENTENCES]).removesuffix(".") or words
    _, host, asked = words.partition("DefaultCPUAllocator: ")
    if isinstance(error, RuntimeError) and host:
        return asked.partition(". ")[0]
    if isinstance(error, MemoryError):
        return words or "the host has no more"
    return None


@contextmanager
def memory_told(remedy: str) -> Iterator[None]:
    """Memory that runs out inside is a MemoryFullError with the remedy."""
    try:
        yield
    except Exception as error:
        what = ran_out(error)
        if what is None:
            raise
        raise MemoryFullError(f"out of memory: {what}; {remedy}; DISTILL_TRACEBACK=1 shows where") from error
