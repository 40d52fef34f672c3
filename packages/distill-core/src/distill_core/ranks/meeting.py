"""Where the processes of a run meet before they are one: a store that the first of them, or torchrun, holds.

Until all have come there is nothing that they could do together, and what keeps one of them from coming the others hear here. Torch is
imported only with the first connection: a process may have to leave before it has it.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from distill_core.errors import DistillError, PeerError, StoppedError
from distill_core.plugins.border import describe
from distill_core.ranks.place import Place
from distill_core.stopping import StopSignal
from distill_core.terminal import said_meanwhile

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

_POLL = 0.02
_SLOWEST_POLL = 0.5
_FAREWELL = 10.0
"""Seconds that the first rank waits for the others before it takes the store with it."""
_WORD = 120.0
"""Seconds that a process which cannot come waits for the others, to tell them: all import the same, and not all as fast."""
_SHORT_WORD = 5.0
"""The same for one that was asked to leave, and for those who are there already to hear it before a launcher ends them."""

_CAME, _READY, _TOLD, _LEFT = "came", "ready", "told", "left"


class Meeting:
    """The meeting of a run's processes as one of them, ``place``, sees it; ``environment`` says where it is."""

    def __init__(self, place: Place, environment: Mapping[str, str]) -> None:
        self._place = place
        self._host, self._port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        self._hosts = place.rank == 0 and environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        # torchrun's store outlives the processes that it starts again.
        self._attempt = environment.get("TORCHELASTIC_RESTART_COUNT", "0")

    def reached(self, timeout: float) -> Store:
        """A connection to the store, once there is one. Raises PeerError if that takes longer than ``timeout`` seconds."""
        until = time.monotonic() + timeout
        while not self._hosts:
            try:  # by a plain socket: torch's own attempts write their traceback to stderr, and no signal ends them
                socket.create_connection((self._host, self._port), max(_POLL, until - time.monotonic())).close()
                break
            except OSError as error:
                if time.monotonic() > until:
                    raise self._missed([0], timeout) from error
                time.sleep(_SLOWEST_POLL / 5)
        store = self.connected(timeout)
        store.add(_CAME, 1)
        return store

    def connected(self, timeout: float) -> Store:
        """One more connection, for a thread of its own. Raises PeerError if there is none."""
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        # A world of one: the first rank would wait here for all, and hear of no failure.
        url = f"tcp://{self._host}:{self._port}?rank={int(not self._hosts)}&world_size=1"
        try:
            socket.getaddrinfo(self._host, self._port)
            store, _, _ = next(iter(rendezvous(url, timeout=timedelta(seconds=timeout))))
        except (RuntimeError, OSError) as error:
            what = "cannot listen" if self._hosts else "is not answered"
            raise PeerError(
                f"rank {self._place.rank} {what} at {self._host}:{self._port}; choose another MASTER_PORT, or a MASTER_ADDR that all "
                "of them can reach",
                told=False,
            ) from error
        return PrefixStore(f"distill/{self._attempt}", store)

    def all_come(self, store: Store, timeout: float) -> None:
        """Wait until every process is ready. Raises PeerError if one has failed, or is not there after ``timeout`` seconds."""
        from distill_core.ranks.watch import failure_in

        mine = _ready(self._place.rank)
        store.set(mine, "")
        store.add(_READY, 1)
        until, poll = time.monotonic() + timeout, _POLL
        while True:
            complete = store.add(_READY, 0) >= self._place.size
            failure = failure_in(store)
            if failure is not None:
                raise failure.error(self._place.rank)
            if complete:
                return
            if time.monotonic() > until:
                raise self._missed([r for r in range(self._place.size) if not store.check([_ready(r)])], timeout)
            time.sleep(poll)
            poll = min(2 * poll, _SLOWEST_POLL)

    def _missed(self, missing: list[int], timeout: float) -> PeerError:
        """What a process says that has waited in vain; the first of those who wait tells a person."""
        names = ", ".join(map(str, missing))
        speaker = min(set(range(self._place.size)) - set(missing))
        waited = f"rank {self._place.rank} of {self._place.size} waited {timeout:.0f} s for rank {names} at {self._host}:{self._port}"
        return PeerError(
            f"{waited}; start all of them, and let them reach that address",
            told=self._place.rank != speaker and missing != [0],
        )

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Inside, this process has not come yet: what ends it is told to the others, which would wait for it."""
        try:
            yield
        except PeerError:  # they know, or there is nobody
            raise
        except BaseException as error:
            with contextlib.suppress(RuntimeError, OSError, PeerError, KeyboardInterrupt):
                self._tell(error)
            raise

    def _tell(self, error: BaseException) -> None:
        """Let the others know why this process does not come, or that it was asked to leave, and they are too."""
        from distill_core.ranks.watch import Failure, ask_all, tell

        if isinstance(error, StopSignal | StoppedError):
            store = self.reached(_SHORT_WORD)
            ask_all(store, int(error.number))
            self._part_told(store, _SHORT_WORD)
            return
        failure = Failure(self._place.rank, reason_of(error))
        with said_meanwhile(
            f"rank {failure.rank} ends, and waits {_WORD:.0f} s at most to tell the others: {failure.reason}"
        ):
            store = self.reached(_WORD)
            tell(store, failure)
            self._part_told(store, _WORD)

    def _part_told(self, store: Store, patience: float) -> None:
        """Leave the store once the others, who were told why, have: a launcher might end them before they heard. Its holder goes last."""
        store.add(_TOLD, 1)
        if self._hosts:
            store.add(_LEFT, 1)
            self._until(lambda: store.add(_LEFT, 0) >= self._place.size, patience)
        else:
            self._until(lambda: store.add(_LEFT, 0) >= store.add(_CAME, 0) - store.add(_TOLD, 0), _SHORT_WORD)
            store.add(_LEFT, 1)

    def part(self, store: Store) -> None:
        """Leave; the process that holds the store goes last."""
        with contextlib.suppress(RuntimeError):
            store.add(_LEFT, 1)
            if self._hosts:
                self._until(lambda: store.add(_LEFT, 0) >= store.add(_CAME, 0), _FAREWELL)

    def _until(self, over: Callable[[], bool], patience: float) -> None:
        """Wait, but no longer than so many seconds."""
        until = time.monotonic() + patience
        while not over() and time.monotonic() < until:
            time.sleep(_POLL)


def reason_of(error: BaseException) -> str:
    """An error in the line that the other processes show of it."""
    return str(error) if isinstance(error, DistillError) else describe(error)


def _ready(rank: int) -> str:
    return f"{_READY}/{rank}"
