"""What a model family says of LoRAs on its denoisers. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

ALL_LINEAR = "all-linear"
"""The set of every linear layer, which each family has."""


def _unknown(_: Any) -> None:
    """Where layers are known only once they are loaded."""


@dataclass(frozen=True)
class LoraSupport:
    """A family that says nothing has LoRAs all the same, on layers that a run names by patterns, and without files.

    Attributes:
        targets: sets of layers by the names that a run.yaml calls them, each as patterns of layers' names.
        fresh: patterns of layers that the family makes anew for some operations (gates, a second time): every LoRA reaches those that
            there are, as nothing else would train them.
        layers: outputs and inputs of the linear layers of a folder's denoisers, by name, e.g. "transformer.blocks.0.attn1.to_q", from its
            JSON and headers alone; a function of its facts. None where it cannot tell before they are loaded.
        files: ``"module:Class"``, a :class:`distill_core.protocols.lora.LoraFiles`, called as ``Class()``; empty for none.
    """

    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fresh: tuple[str, ...] = ()
    layers: Callable[[Any], Mapping[str, tuple[int, int]] | None] = _unknown
    files: str = ""

    def patterns(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Targets of a run.yaml as patterns: sets are spelt out."""
        return tuple(pattern for target in targets for pattern in self.targets.get(target, (target,)))

    @property
    def sets(self) -> tuple[str, ...]:
        """The names of its sets of layers."""
        return (*self.targets, ALL_LINEAR)


def matching(names: Collection[str], patterns: Sequence[str]) -> list[str]:
    """The layers that patterns mean. A pattern is of the whole name, or of the name within its module; ``*`` goes over dots."""
    if ALL_LINEAR in patterns:
        return list(names)
    return [
        name
        for name in names
        if any(fnmatchcase(each, pattern) for pattern in patterns for each in (name, name.partition(".")[2]))
    ]


def chosen_layers(support: LoraSupport, targets: Sequence[str], names: Collection[str]) -> list[str] | str:
    """The layers that targets mean, and those that the family made anew; or what is wrong with the targets."""
    for target in targets:
        if not matching(names, support.patterns((target,))):
            example = f", and a pattern is of names like {next(iter(names))}" if names else ""
            return f"{target!r} means no linear layer of this model; its sets are {', '.join(support.sets)}{example}"
    wanted = {*matching(names, support.patterns(targets)), *matching(names, support.fresh)}
    return [name for name in names if name in wanted]
