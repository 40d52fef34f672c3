"""What a person or a program reads of a command: the one place that writes to stdout and stderr.

No text is read as markup, and none can act on the terminal (:mod:`distill_core.printable`). It decides nothing of what is said.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distill_core.printable import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


SILENCE = 2.0
"""Seconds that a command may take without a word."""


def answer(text: str) -> None:
    """A line of what was asked for, on stdout."""
    print(visible(text), flush=True)


def document(text: str) -> None:
    """A whole document on stdout, in a format that knows an escape for every character that could act, e.g. YAML."""
    print(text, end="", flush=True)


def remark(text: str) -> None:
    """A line beside the answer, on stderr."""
    print(visible(text), file=sys.stderr, flush=True)


def notes(said: Iterable[str]) -> None:
    """What a person should know of what is right, a line each beside the answer."""
    for each in said:
        remark(f"note: {each}")


@contextmanager
def said_meanwhile(text: str, patience: float = SILENCE) -> Iterator[None]:
    """What takes longer inside than so many seconds goes on after a line about it."""
    timer = threading.Timer(patience, remark, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def console(*, stderr: bool = True) -> Console:
    """A console that reads no markup in what it is given. Other text than one's own is for :func:`line` to show."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def quiet() -> Console:
    """A console that says nothing."""
    from rich.console import Console

    return Console(quiet=True)


def shown(text: str) -> Text:
    """A text as a part of what a console shows."""
    from rich.text import Text

    return Text(visible(text))


def line(on: Console, text: str) -> None:
    """A line on a console, above whatever is live there; never cut."""
    on.print(shown(text), soft_wrap=True)
