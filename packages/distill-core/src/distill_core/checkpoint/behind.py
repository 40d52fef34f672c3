"""One piece of work at a time in a thread beside: begun, asked after, waited for. Knows nothing of what the work is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType


class Behind:
    """At most one thread, and what it ended by."""

    def __init__(self) -> None:
        self._ended: threading.Event | None = None
        self._error: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether the work has ended by an error that nobody has been told of."""
        return self._error is not None

    def start(self, work: Callable[[], object]) -> None:
        """Begin; what was begun before has been settled."""
        assert self._ended is None, "one at a time"
        ended = self._ended = threading.Event()

        def worked() -> None:
            """The work, and what ended it."""
            with ExitStack() as ending:
                ending.callback(ended.set)
                ending.push(self._keep)
                work()

        threading.Thread(target=worked, name="distill-behind", daemon=True).start()

    def _keep(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        """Take up what the work ended by, whatever it is: settle raises it."""
        self._error = error
        return True

    def wait(self, seconds: float | None = None) -> None:
        """Until the work has ended, or so long. Not by the thread's own join: Python 3.11 takes one that is broken off for the end."""
        if self._ended is not None:
            self._ended.wait(seconds)

    def settle(self) -> None:
        """Wait until the work has ended. Raises what it ended by, once."""
        self.wait()
        error, self._ended, self._error = self._error, None, None
        if error is not None:
            raise error
