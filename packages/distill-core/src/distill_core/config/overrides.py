"""Overrides as a command line gives them, ``key.path=value``: what each sets, and which are undone by a later one. Knows no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill_core.config.compose import compose
from distill_core.config.document import KeyPath, shown_override
from distill_core.errors import ConfigError, Problem


@dataclass(frozen=True)
class Override:
    """One that can be read.

    Attributes:
        text: it, verbatim.
        path: the key that it sets.
        value: to what, plain data.
    """

    text: str
    path: KeyPath
    value: Any

    @classmethod
    def parsed(cls, text: str) -> Override:
        """What an override says. Raises ConfigError with every fault of one that cannot be read."""
        key, equals, value = text.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or "" in path:
            raise ConfigError([Problem("", f"{shown_override(text)}: write it as key.path=value")])
        node, faults = compose(value)
        if faults:
            raise ConfigError([Problem(key, f"{shown_override(text)}: {fault.message}") for fault in faults])
        return cls(text, path, None if node is None else node.value)

    def undoes(self, earlier: Override) -> bool:
        """Whether it says something else of what an earlier one has said."""
        if len(self.path) <= len(earlier.path):
            own, other, below = self, earlier, earlier.path[len(self.path) :]
        else:
            own, other, below = earlier, self, self.path[len(earlier.path) :]
        if other.path[: len(own.path)] != own.path:
            return False
        said = _at(own.value, below)
        if own is earlier and said is _NOTHING:
            return False  # the later one adds to it
        return bool(said != other.value)


_NOTHING = object()


def _at(value: Any, path: KeyPath) -> Any:
    """What a value says at a path below it; _NOTHING where it says nothing."""
    for segment in path:
        if isinstance(value, list) and str(segment).isdecimal() and int(segment) < len(value):
            value = value[int(segment)]
        elif isinstance(value, Mapping) and segment in value:
            value = value[segment]
        else:
            return _NOTHING
    return value


def undone(overrides: Sequence[str]) -> Iterator[str]:
    """A note on each override that a later one undoes, wholly or in part: the last one counts, as on any command line.

    Raises ConfigError for one that cannot be read.
    """
    parsed = [Override.parsed(text) for text in overrides]
    for number, earlier in enumerate(parsed):
        for later in reversed(parsed[number + 1 :]):
            if later.undoes(earlier):
                yield f"{shown_override(earlier.text)} is undone by {shown_override(later.text)}, which comes after it"
                break
