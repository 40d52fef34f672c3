"""How far `distill data encode` is: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from distill_core.data.encoding.report import Fate
from distill_core.terminal import line

ResultT = TypeVar("ResultT")

SECONDS_PER_LINE = 10.0
"""Where there is no terminal, seconds between two lines of progress."""
ENCODING = "encoding"


class _RateColumn(ProgressColumn):
    """Videos per second."""

    def render(self, task: Task) -> Text:
        """The task's rate."""
        return Text(f"{task.speed:.2f}/s" if task.speed else "-/s")


class EncodeProgress(Protocol):
    """Hears of each video or caption that is done; a :data:`distill_core.data.encoding.report.Listener`."""

    def __call__(self, fates: Sequence[Fate], /) -> None:
        """One more is done."""
        ...

    def shown(self, doing: str, work: Callable[[], ResultT]) -> ResultT:
        """``work()``, which ``doing`` says; its time is not that of any video."""
        ...


@contextmanager
def encode_progress(console: Console, total: int, doing: str = ENCODING) -> Iterator[EncodeProgress]:
    """Rate and time left of ``doing``, advanced by each video, caption or row: a bar on a terminal, a line now and then elsewhere."""
    if not console.is_terminal:
        yield _ProgressLines(console, total, doing)
        return
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), _RateColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        yield _ProgressBar(bar, bar.add_task(doing, total=total), doing)


class _ProgressBar:
    """Progress for a terminal."""

    def __init__(self, bar: Progress, task: TaskID, doing: str) -> None:
        self._bar = bar
        self._doing = doing
        self._task = task

    def __call__(self, _: Sequence[Fate]) -> None:
        """One more is done."""
        self._bar.advance(self._task)

    def shown(self, doing: str, work: Callable[[], ResultT]) -> ResultT:
        """Do work that is none of the bar's, with its name in place of the bar's."""
        self._bar.update(self._task, description=doing, refresh=True)
        try:
            return work()
        finally:
            self._bar.update(self._task, description=self._doing)


class _ProgressLines:
    """Progress for a log file."""

    def __init__(self, console: Console, total: int, doing: str) -> None:
        self._console = console
        self._doing = doing
        self._total = total
        self._done = self._done_before = 0
        self._started = self._printed = time.monotonic()

    def __call__(self, _: Sequence[Fate]) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        if now - self._printed >= SECONDS_PER_LINE:
            self._printed = now
            rate = (self._done - self._done_before) / (now - self._started)
            left = timedelta(seconds=round((self._total - self._done) / rate))
            told = f"{self._doing} {self._done}/{self._total}  {rate:.2f}/s  ETA {left}"
            line(self._console, told)

    def shown(self, _: str, work: Callable[[], ResultT]) -> ResultT:
        """Do work that takes time of its own; the rate is that of what comes after."""
        result = work()
        self._done_before, self._started = self._done, time.monotonic()
        return result
