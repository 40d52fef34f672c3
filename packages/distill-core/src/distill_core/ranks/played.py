"""Ranks of which one is played alone: it holds and computes what each of them would, and hears nobody but itself."""

from __future__ import annotations

from collections.abc import Sequence

from distill_core.ranks.layout import Layout
from distill_core.ranks.peers import Peers, PlayedPeers
from distill_core.ranks.ranks import Ranks


class PlayedRanks(Ranks):
    """The first of as many ranks as a layout has; what it is said to send goes nowhere, what it is said to hear is its own."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.size = layout.replicate * layout.shard

    def anywhere(self, flags: Sequence[bool]) -> list[bool]:
        """All of them: the others may have rows of every kind, and what is played is the most that this one does for them."""
        return [True] * len(flags)

    @property
    def peers(self) -> Peers | None:
        """The others of the first group."""
        return PlayedPeers(0, self.layout.context) if self.layout.context > 1 else None
