"""Signals that ask the process to stop, held back until there is a good moment. What that moment is, the holder decides."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class HeldSignals:
    """Inside ``with HeldSignals(...) as held``, a signal is written down in ``held.received`` and does nothing else.

    ``insist``: a second signal of its kind takes its usual course, as for a person who presses Ctrl-C twice. A cluster's signals
    may arrive twice without anybody insisting: once from the scheduler, once passed on by a parent.

    A signal that the process ignores stays ignored, and outside the main thread, where Python handles none, nothing is held.
    """

    def __init__(self, *numbers: signal.Signals, insist: bool, notice: str) -> None:
        self.received: signal.Signals | None = None
        self._numbers = numbers
        self._insist = insist
        self._notice = notice
        self._usual = {number: signal.getsignal(number) for number in numbers}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number, usual in self._usual.items():
                if usual not in (signal.SIG_IGN, None):  # None: handled by foreign code, which cannot be put back
                    signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, usual in self._usual.items():
            if signal.getsignal(number) == self._remember:
                signal.signal(number, usual)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            # No print: the signal may have come in the middle of one.
            os.write(2, f"{signal.Signals(number).name}: {self._notice}\n".encode())
        self.received = signal.Signals(number)
        if self._insist:
            signal.signal(number, self._usual[self.received])
