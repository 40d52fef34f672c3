"""What reads another trainer's config, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Beside = Callable[[str], str | None]
"""The text of a file that a config names, looked for where it says and beside the config; None where there is none to be read."""


@dataclass(frozen=True)
class Remark:
    """What a person should know of one key of a translated config.

    Attributes:
        theirs: the key there with its value, or "" for a setting that the file does not say.
        ours: the dotted key of the run.yaml that holds it now, or None if it has no counterpart.
        message: what is different, or lost.
    """

    theirs: str
    ours: str | None
    message: str


@dataclass(frozen=True)
class Translation:
    """A config as a run.

    Attributes:
        run: the run.yaml as plain data.
        remarks: one for every key that changed its meaning or has no counterpart, and for each setting that the trainer has by default.
    """

    run: Mapping[str, Any]
    remarks: tuple[Remark, ...]


class Importer(Protocol):
    """Reads the configs of one trainer."""

    def __call__(self, text: str, name: str, beside: Beside) -> Translation | None:
        """The run that a file is, by its text and its name; None for a file that is no config of this trainer. Executes nothing of it."""
        ...
