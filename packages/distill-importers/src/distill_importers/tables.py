"""What a trainer's keys are called and mean here: the data that both the translation and docs/coming-from.md are made from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distill_importers.datasets import DataFile

Config = Mapping[str, Any]
"""A config with its nesting taken off: values by dotted key. ``Any``: whatever stands in somebody's file."""


class Nothing:
    """The type of :data:`NOTHING`."""


NOTHING = Nothing()
"""What a converter gives for a value that needs no key here, because the default is the same."""


class UnlikeError(Exception):
    """A value that has no counterpart here; the message says what is lost, or what to do."""


def as_it_is(value: Any, _: Config) -> Any:
    """The value of a key that means the same here."""
    return value


@dataclass(frozen=True)
class Key:
    """One key of another trainer.

    Attributes:
        theirs: its dotted name; ``*`` is any one part, or the rest of one, and ``**`` at the end any number of them.
        ours: where the value goes in a run.yaml, dotted, ``*`` as in ``theirs``; several names are set to it alike; () is no counterpart.
        note: what is different, or why there is no counterpart; empty where the meaning is the same.
        value: the value here; a function of theirs and of the whole config. Raises UnlikeError for one that has no counterpart.
        matters: whether the note is to be made of this value.
    """

    theirs: str
    ours: tuple[str, ...] = ()
    note: str = ""
    value: Callable[[Any, Config], Any] = as_it_is
    matters: Callable[[Any, Config], bool] = lambda value, config: True

    def captures(self, name: str) -> tuple[str, ...] | None:
        """What the stars of this key stand for in a dotted name; None if the name is of another key. A ``**`` at the end is any rest."""
        pattern = (
            re.escape(self.theirs).replace(r"\.\*\*", r"(?:\..+)?").replace(r"\*\*", ".*").replace(r"\*", "([^.]+)")
        )
        found = re.fullmatch(pattern, name)
        return None if found is None else found.groups()

    def places(self, captured: tuple[str, ...]) -> tuple[str, ...]:
        """The names here, with the captured parts in the place of their stars."""
        filled = []
        for name in self.ours:
            for part in captured:
                name = name.replace("*", part, 1)
            filled.append(name)
        return tuple(filled)


@dataclass(frozen=True)
class Default:
    """What a trainer does where its config is silent, and distill would do something else.

    Attributes:
        ours: the dotted name here.
        value: what their default is here, or a function of the config that gives it, or NOTHING where there is nothing to set.
        note: whose default it is.
    """

    ours: str
    value: Any | Callable[[Config], Any]
    note: str

    def of(self, config: Config) -> Any:
        """The value under this config."""
        return self.value(config) if callable(self.value) else self.value


@dataclass(frozen=True)
class Trainer:
    """One trainer's configs.

    Attributes:
        name: what ``distill import --from`` calls it.
        title: what people call it.
        preface: what is to be known of all of its configs, for the docs.
        keys: its keys; of several that fit a name, the first counts.
        defaults: what it does by itself.
        recognises: whether a config is one of its own.
        prepared: a flattened config as the table knows it.
        data_file: where a config names a second file, of its data.
    """

    name: str
    title: str
    preface: str
    keys: tuple[Key, ...]
    recognises: Callable[[Config], bool]
    defaults: tuple[Default, ...] = field(default=())
    prepared: Callable[[Config], Config] = lambda config: config
    data_file: DataFile | None = None
