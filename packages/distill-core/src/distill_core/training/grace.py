"""What still fits into the time that a process has to leave. Decides for a save that comes after the signal; saves nothing itself."""

from __future__ import annotations

from distill_core.ranks.ranks import Ranks
from distill_core.stopping import Stopping


class Grace:
    """The seconds that a process is given to leave.

    Attributes:
        refused: why a save after the signal was not begun; None if it was.
    """

    def __init__(self, stopping: Stopping, ranks: Ranks) -> None:
        self.refused: str | None = None
        self._stopping = stopping
        self._ranks = ranks

    def suffices(self, took: float | None) -> bool:
        """Whether a save is to be begun: the last one, which ``took`` so many seconds, would have ended in what is left, or there was none.

        The first rank decides.
        """
        self.refused = self._ranks.from_first(lambda: self._reason(took))
        return self.refused is None

    def _reason(self, took: float | None) -> str | None:
        left = self._stopping.left
        if took is None or took <= left:
            return None
        return f"not saved: {left:.1f} s were left of checkpoint.grace, and the last save took {took:.1f} s"
