"""A cluster's signals as Ctrl-C: what puts its things away when a person interrupts it does so for a scheduler too."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class SignalInterrupt(KeyboardInterrupt):
    """A signal came.

    Attributes:
        number: which.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


@contextmanager
def interrupting(*numbers: signal.Signals) -> Iterator[None]:
    """Inside, the first of these signals raises SignalInterrupt in the main thread; those after it do nothing.

    A signal that the process ignores stays ignored, and outside the main thread, where Python handles none, nothing changes.
    """
    came = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if not came:
            came = True
            raise SignalInterrupt(signal.Signals(number))

    usual = {number: signal.getsignal(number) for number in numbers}
    here = threading.current_thread() is threading.main_thread()
    # None: handled by foreign code, which cannot be put back.
    taken = [number for number, handler in usual.items() if here and handler not in (signal.SIG_IGN, None)]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, usual[number])
