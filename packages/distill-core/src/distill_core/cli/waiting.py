"""A sign of life while a command has nothing to say yet: imports, reading, loading.

Not for work whose end can be told: that is a progress bar's. Not for results: those go to stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distill_core.terminal import console, shown

Say = Callable[[str], None]
"""Shows what is being done now, in place of what was shown before."""


@contextmanager
def waiting(doing: str, *, silent: bool = False) -> Iterator[Say]:
    """Show ``doing`` (e.g. ``"importing torch"``) beside a spinner on stderr until the block ends; then it is gone.

    Yields a function that changes the text. Where stderr is no terminal, or if ``silent``, nothing is shown at all. Whatever the block
    prints stays where it belongs: on the terminal above the spinner, and in a file or a pipe if stdout is one.
    """
    if silent or not sys.stderr.isatty():
        yield _say_nothing
        return
    from rich.live import Live
    from rich.spinner import Spinner

    on = console()
    if not on.is_terminal:
        yield _say_nothing
        return
    spinner = Spinner("line" if on.options.ascii_only else "dots", shown(doing), style="status.spinner")

    def say(now_doing: str) -> None:
        """Change the text beside the spinner."""
        spinner.update(text=shown(now_doing))

    with Live(spinner, console=on, refresh_per_second=12, transient=True, redirect_stdout=sys.stdout.isatty()):
        yield say


def _say_nothing(now_doing: str) -> None:
    """Where there is no terminal."""
