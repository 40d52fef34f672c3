"""A thread of each process that sees how the others are, so that none of them waits for one that is gone.

By itself a process of a run cannot tell: it waits in a collective, and what it is told there is at most that a connection broke.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from torch.distributed.distributed_c10d import Store

from distill_core.errors import PeerError

EVERY = 0.5
"""Seconds between two looks, and between two signs of life."""
SILENT = 3.0
"""Seconds without a sign of life after which a process counts as gone: it was killed, or is stopped."""
GRACE = 5.0
"""Seconds that a process has to leave in order once another one has failed: it may be stuck in a collective for ever."""

GONE = "it is gone: it was killed, or stopped"
STORE_GONE = "it, or the launcher, is gone, and with it what the processes know of each other"

_FAILED = "failed"
_ASKED = "asked"


@dataclass(frozen=True)
class Failure:
    """What ended a run of several processes, as the first of them to know it told the others.

    Attributes:
        rank: the process that failed.
        reason: why.
        gone: whether it cannot say so itself.
    """

    rank: int
    reason: str
    gone: bool = False

    def error(self, rank: int) -> PeerError:
        """The same as what ends another process. The first rank tells a person, unless it is the one that is gone."""
        return PeerError(f"rank {self.rank}: {self.reason}", told=rank != 0 and not (self.rank == 0 and self.gone))


class Watch(threading.Thread):
    """Gives signs of life through a store of torch's, by a connection of its own, and looks for what others have written there.

    ``asked``: the number of the signal that this process was asked to leave by, 0 for none; ``ask``: told once that another process was.

    Attributes:
        step: how far this process is.
    """

    def __init__(
        self, store: Store, rank: int, size: int, asked: Callable[[], int], ask: Callable[[int], None]
    ) -> None:
        super().__init__(name="distill-ranks", daemon=True)
        self.step = 0
        self._store = store
        self._rank, self._size = rank, size
        self._asked, self._ask = asked, ask
        self._over = threading.Event()
        self._beats = 0

    def run(self) -> None:
        """Look, until :meth:`finish`."""
        heard = False
        while not self._over.wait(EVERY):
            try:
                self._beat()
                failure = self.failure()
                heard = heard or self._signal()
            except RuntimeError:
                failure = Failure(0, STORE_GONE, gone=True)
            if failure is not None and failure.rank != self._rank and not self._over.wait(GRACE):
                _leave(failure.error(self._rank))

    def finish(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()

    def tell(self, failure: Failure) -> Failure:
        """Make a failure known, unless another is known already. Returns the one that is."""
        return tell(self._store, failure)

    def culprit(self, waited: float) -> Failure | None:
        """Which process is to blame for a collective that failed after ``waited`` seconds here; None if it is no other one's fault."""
        before, until = self._signs(), time.monotonic() + SILENT
        while time.monotonic() < until:
            failure = self.failure()
            if failure is not None:
                return None if failure.rank == self._rank else failure
            time.sleep(EVERY / 5)
        now = self._signs()
        for rank, sign in now.items():
            if rank != self._rank and sign == before[rank]:
                return Failure(rank, GONE, gone=True)
        behind = [rank for rank, (_, step) in now.items() if step < self.step]
        if behind:
            late = behind[0]
            return Failure(
                late, f"it is at step {now[late][1]}, and was waited for in vain for {waited:.0f} s", gone=True
            )
        return None

    def alive(self, rank: int) -> tuple[int, int]:
        """A sign of life of a rank: another one than before while it lives."""
        return self._signs()[rank]

    def _beat(self) -> None:
        self._beats += 1
        self._store.set(_beat_of(self._rank), f"{self._beats} {self.step}")

    def _signs(self) -> dict[int, tuple[int, int]]:
        """The number of signs of life of each rank, and how far it is."""
        found: dict[int, tuple[int, int]] = {}
        for rank in range(self._size):
            name = _beat_of(rank)
            beats, step = self._store.get(name).split() if self._store.check([name]) else (0, 0)
            found[rank] = int(beats), int(step)
        return found

    def failure(self) -> Failure | None:
        """What ended another process, or this one, if anything did."""
        return failure_in(self._store)

    def _signal(self) -> bool:
        """Pass on a signal that one process got to the others. Returns whether there was one."""
        number = self._asked()
        if number:
            ask_all(self._store, number)
        elif self._store.check([_ASKED]):
            self._ask(int(self._store.get(_ASKED)))
        else:
            return False
        return True


def tell(store: Store, failure: Failure) -> Failure:
    """Make a failure known to all who look at the store, unless another is known already. Returns the one that is."""
    return _read(store.compare_set(_FAILED, "", json.dumps(asdict(failure))))


def failure_in(store: Store) -> Failure | None:
    """The failure that is known there."""
    return _read(store.get(_FAILED)) if store.check([_FAILED]) else None


def ask_all(store: Store, number: int) -> None:
    """Let every process be asked to leave by a signal, as one was."""
    store.set(_ASKED, str(number))


def _beat_of(rank: int) -> str:
    return f"beat/{rank}"


def _read(text: bytes) -> Failure:
    return Failure(**json.loads(text))


def _leave(error: PeerError) -> None:
    """End a process whose main thread is stuck."""
    if os.environ.get("DISTILL_TRACEBACK", "0") not in ("", "0"):
        faulthandler.dump_traceback(all_threads=True)
    if not error.told:
        sys.stderr.write(f"error: {error}\n")
        sys.stderr.flush()
    os._exit(error.exit_code)
