"""How long a sample by blocks takes to its first frames and to its last: what makes it worth streaming."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

from distill_core.protocols.validator import StreamTimes


class StreamClock:
    """Runs from the moment that it is made.

    ``show`` makes a block's frames on the host: as long as that takes, nobody sees them. The first block is shown by itself when it is
    there, and again with the whole; a causal decoder makes the same frames of it.
    """

    def __init__(self, show: Callable[[Tensor], object]) -> None:
        self._show = show
        self._began = time.monotonic()
        self._first: float | None = None

    def watched(self, walk: Callable[[int], Tensor]) -> Callable[[int], Tensor]:
        """A walk of blocks whose first is shown."""

        def walked(frames: int) -> Tensor:
            """One block."""
            block = walk(frames)
            if self._first is None:
                self._show(block)
                self._first = time.monotonic() - self._began
            return block

        return walked

    @property
    def times(self) -> StreamTimes | None:
        """Up to now; None if no block was made."""
        return None if self._first is None else StreamTimes(self._first, time.monotonic() - self._began)
