"""How sampled videos are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from distill_core.protocols.validator import SampledVideo


class Metric(Protocol):
    """Built as ``Class(options)``, with an instance of the spec's options; building it computes nothing that takes long."""

    def check(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int]) -> None:
        """Called before training. Raises DistillError if videos of these prompts, or of that many pixels, cannot be measured."""
        ...

    def measure(self, videos: Sequence[SampledVideo]) -> Mapping[str, float]:
        """Figures of one set of videos, by name; validation logs them as ``validation/<metric>/<name>``."""
        ...
