"""Ranks of which one is played alone: it holds and computes what each of them would, and hears nobody but itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distill_core.ranks.layout import Layout
from distill_core.ranks.peers import Peers, PlayedPeers
from distill_core.ranks.ranks import Ranks


class PlayedRanks(Ranks):
    """The first of as many ranks as a layout has; what it is said to send goes nowhere, what it is said to hear is its own.

    ``heard``: what is needed anywhere, by question, in order. None: all is, as the others may have rows of every kind.
    """

    def __init__(self, layout: Layout, heard: Iterable[Sequence[bool]] | None = None) -> None:
        self.layout = layout
        self.size = layout.replicate * layout.shard
        self._heard = None if heard is None else iter(heard)

    def anywhere(self, flags: Sequence[bool]) -> list[bool]:
        """What was heard, and what this rank says itself."""
        answer = [True] * len(flags) if self._heard is None else next(self._heard)
        return [heard or flag for heard, flag in zip(answer, flags, strict=True)]

    @property
    def peers(self) -> Peers | None:
        """The others of the first group."""
        return PlayedPeers(0, self.layout.context) if self.layout.context > 1 else None
