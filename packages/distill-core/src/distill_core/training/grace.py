"""What still fits into the time that a process has to leave. Decides for the save that a signal asks for; saves nothing itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from distill_core.ranks.ranks import Ranks
from distill_core.stopping import Stopping


class Grace:
    """Remembers how long saves take.

    Attributes:
        refused: why the save that a signal asked for was not begun; None if it was.
    """

    def __init__(self, stopping: Stopping, ranks: Ranks) -> None:
        self.refused: str | None = None
        self._stopping = stopping
        self._ranks = ranks
        self._took: float | None = None

    @contextmanager
    def measured(self) -> Iterator[None]:
        """A save goes on inside."""
        began = time.monotonic()
        yield
        self._took = time.monotonic() - began

    def suffices(self) -> bool:
        """Whether a save is to be begun: the last one would have ended in what is left, or there was none. The first rank decides."""
        self.refused = self._ranks.from_first(self._reason)
        return self.refused is None

    def _reason(self) -> str | None:
        left = self._stopping.left
        if self._took is None or self._took <= left:
            return None
        return f"not saved: {left:.1f} s were left of checkpoint.grace, and the last save took {self._took:.1f} s"
