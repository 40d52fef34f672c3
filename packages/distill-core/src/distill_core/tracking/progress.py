"""How a run shows on the terminal: a live bar where there is one, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from distill_core import terminal
from distill_core.printable import visible
from distill_core.terminal import line


def figures_line(figures: Mapping[str, float]) -> str:
    """The losses of a line of metrics, for a person; names with a slash (norms, rates) are left to the files."""
    return "  ".join(
        f"{name} {value:.4g}" for name, value in figures.items() if "/" not in name and name != "steps_per_second"
    )


class Progress:
    """Shows training: losses, rate, ETA."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = terminal.console() if console is None else console
        self.rate = 0.0
        self._bar: RichProgress | None = None
        self._started = 0.0
        self._first = 1
        self._last = 1
        self._paused = 0.0

    @contextmanager
    def training(self, first: int, last: int) -> Iterator[None]:
        """Steps ``first`` to ``last`` are about to be trained."""
        self._first, self._last, self._started, self._paused = first, last, time.monotonic(), 0.0
        if not self.console.is_terminal:
            yield
            return
        self._bar = RichProgress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[rate]:.2f} steps/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self.console,
        )
        with self._bar:
            self._bar.add_task("", total=last, completed=first - 1, rate=0.0, figures="")
            yield
        self._bar = None

    @contextmanager
    def aside(self, what: str) -> Iterator[None]:
        """Something other than training goes on, e.g. sampling: its time does not count in the rate."""
        began = time.monotonic()
        if self._bar is None and not self.console.is_terminal:
            line(self.console, what)
        elif self._bar is not None:
            self._bar.update(self._bar.task_ids[0], figures=visible(what))
        yield
        self._paused += time.monotonic() - began

    def advance(self, step: int) -> None:
        """``step`` is done."""
        self.rate = (step - self._first + 1) / max(1e-9, time.monotonic() - self._started - self._paused)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, rate=self.rate)

    def say(self, text: str) -> None:
        """One line that stays, above the bar where there is one."""
        line(self.console, text)

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        """New means of the losses."""
        losses = figures_line(figures)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], figures=visible(losses))
        else:
            left = timedelta(seconds=round((self._last - step) / max(self.rate, 1e-9)))
            line(self.console, f"step {step}/{self._last}  {losses}  {self.rate:.2f} steps/s  ETA {left}")
