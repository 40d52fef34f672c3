"""An input as a person brings it, and what becomes of it. Lists of them are tested one by one, and printed by tools/data_cases.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        brought: what it is, in words.
        make: writes it into a folder that is not there yet.
        due: what is said of it, as a pattern.
    """

    brought: str
    make: Callable[[Path], None]
    due: str


@dataclass(frozen=True)
class Topic:
    """Inputs of one kind.

    Attributes:
        title: what they are.
        cases: the inputs.
        outcome: makes one in a folder, gives it to the commands, and says what they said.
    """

    title: str
    cases: tuple[Case, ...]
    outcome: Callable[[Case, Path], str]


def told(text: str, *roots: Path) -> str:
    """What a command said, without the places where it was tried."""
    for root in roots:
        text = re.sub(rf"{re.escape(str(root))}/", "", text)
    return text.strip()
