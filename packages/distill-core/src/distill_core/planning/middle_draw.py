"""A draw that is neither lucky nor unlucky: what is drawn once for all samples is the middle of what there is."""

from __future__ import annotations

from dataclasses import dataclass, fields

from distill_core.protocols.draw import Draw
from distill_core.training.draws import KeyedDraw


@dataclass(frozen=True)
class MiddleDraw(KeyedDraw):
    """A draw whose shared index is the middle one, the upper of two: neither the shortest rollout nor the longest."""

    def shared_index(self, name: str, count: int) -> int:
        """The middle of ``count``."""
        return count // 2


def middle(draw: Draw) -> MiddleDraw:
    """The same draw of the trainer's, but for its shared indices."""
    assert isinstance(draw, KeyedDraw)
    return MiddleDraw(**{field.name: getattr(draw, field.name) for field in fields(draw)})
