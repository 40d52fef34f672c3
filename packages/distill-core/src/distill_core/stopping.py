"""Being asked to leave: the one owner of the signals that ask a command to stop, from its first line to its last.

A signal ends what is going on where it comes, except inside :meth:`Stopping.held`: there it is written down, and whoever works there
looks at :attr:`Stopping.asked` between two pieces of work. What is saved before the process leaves is not decided here.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from distill_core.errors import StoppedError

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Ctrl-C, a terminal that is closed, and what schedulers send before they take a machine away."""

PASSED_ON = 0.2
"""Seconds within which a second SIGINT is no second Ctrl-C: a launcher passes on what the terminal sent to both."""


class StopSignal(KeyboardInterrupt):
    """Raised where a signal comes that is not held. A KeyboardInterrupt, so that nobody takes it for a fault of what it ends."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


class Stopping:
    """``with Stopping() as stopping``: from here to the end of the block this process leaves in order when it is asked to.

    A signal that the process ignores stays ignored (``nohup``), and outside the main thread, where Python handles none, none is heard.

    Attributes:
        asked: the signal that asked first; None as long as none has.
        insisted: whether a person did not wait for what a signal was held for.
        grace: the seconds that there are from the signal on; None: as many as it takes.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.insisted = False
        self.grace: float | None = None
        self._at = 0.0
        self._notice: str | None = None
        self._raised = False
        self._usual = {number: signal.getsignal(number) for number in ASKING}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number, usual in self._usual.items():
                if usual not in (signal.SIG_IGN, None):  # None: handled by foreign code, which cannot be put back
                    signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each, usual in self._usual.items():
            if signal.getsignal(each) == self._hear:
                signal.signal(each, usual)
        if error is None or isinstance(error, StoppedError):
            return
        number = self.behind(error)
        if number is signal.SIGINT and not isinstance(error, KeyboardInterrupt):
            raise StopSignal(number) from error
        if number is not None and number is not signal.SIGINT:
            raise StoppedError(f"{number.name} came before the run began; nothing was written", number) from error

    @property
    def left(self) -> float:
        """The seconds that are left of the grace; infinity where there is none, or nobody has asked yet."""
        if self.grace is None or self.asked is None:
            return math.inf
        return max(0.0, self._at + self.grace - time.monotonic())

    def behind(self, error: BaseException) -> signal.Signals | None:
        """The signal that an error follows from; None if it has another cause.

        Whatever comes up after a signal has ended something counts: an import that is broken off half-way, e.g. torch's of numpy, may
        hide it behind an error of its own.
        """
        if isinstance(error, StoppedError):
            return signal.Signals(error.number)
        if isinstance(error, KeyboardInterrupt) and self.asked is None:
            return signal.SIGINT
        return self.asked if self._raised or isinstance(error, KeyboardInterrupt) else None

    @contextmanager
    def held(self, notice: str) -> Iterator[None]:
        """Inside, a signal is only written down, and answered with ``notice``, what is done first. A second Ctrl-C does not wait.

        A cluster's signals may arrive twice without anybody insisting: once from the scheduler, once passed on by a parent.
        """
        before, self._notice = self._notice, notice
        try:
            yield
        finally:
            self._notice = before

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal ends what is going on, held or not: nothing would be lost. One that came before does so now."""
        before, self._notice = self._notice, None
        try:
            self.check()
            yield
        finally:
            self._notice = before

    def check(self) -> None:
        """Raises StopSignal if the process was asked to leave."""
        if self.asked is not None:
            self._raised = True
            raise StopSignal(self.asked)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        heard, now = signal.Signals(number), time.monotonic()
        first = self.asked is None
        if not first and heard is signal.SIGINT and now - self._at < PASSED_ON:
            return
        if self.asked is None:
            self.asked, self._at = heard, now
        self.insisted |= heard is signal.SIGINT and not first
        if self._notice is None or (heard is signal.SIGINT and not first):
            self._raised = True
            raise StopSignal(self.asked)
        if first:
            again = "; again to leave now" if heard is signal.SIGINT else ""
            _tell(f"{heard.name}: {self._notice}{again}\n")


def _tell(line: str) -> None:
    """Write to stderr. No print: the signal may have come in the middle of one. Where nobody can read it any more, e.g. on a terminal
    that was closed, stdout and stderr go nowhere from now on, so that the work can be finished."""
    try:
        os.write(2, line.encode())
    except OSError:
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for descriptor in (1, 2):
                os.dup2(nowhere, descriptor)
            os.close(nowhere)
