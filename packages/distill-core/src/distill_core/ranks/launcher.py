"""Several processes of one command on this machine: started, told of signals, waited for. What they do is theirs.

torchrun does the same for several machines; it makes 1 of every exit status, and kills after 30 seconds, which may be too short to save.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from distill_core.errors import PeerError
from distill_core.stopping import Stopping
from distill_core.terminal import remark

GRACE = 35.0
"""Seconds that the others have to leave once a process has failed; one that is stopped, or stuck, is killed then."""
LEFT_BEHIND = 15.0
"""The same once one has left because another is gone: that one does nothing any more, the rest have heard by then. With the seconds that
it takes to see that one is gone, and to leave, all are away 35 seconds after ``distributed.timeout``."""
_POLL = 0.05


def launch(
    arguments: Sequence[str],
    count: int,
    environment: Mapping[str, str],
    stopping: Stopping,
    *,
    command: Sequence[str] = (sys.executable, "-P", "-m", "distill_core"),
    grace: float = GRACE,
) -> int:
    """Run ``count`` processes to their end. Returns 0, or the exit status of the first one that failed by itself.

    A signal that this process gets is passed on to all, which save and leave for as long as that takes.
    """
    port = str(free_port())
    threads = str(max(1, (os.cpu_count() or 1) // count))
    shared = {"OMP_NUM_THREADS": threads, **environment, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    children = [
        subprocess.Popen(
            [*command, *arguments],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
        )
        for rank in range(count)
    ]
    try:
        with stopping.held("the processes save and leave"):
            return _waited(children, stopping, grace)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()


def _waited(children: Sequence[subprocess.Popen[bytes]], stopping: Stopping, grace: float) -> int:
    """Until all have ended, or one has failed and the others have had their time. Says what no process can say of itself."""
    failed: list[int] = []
    seen: set[int] = set()
    passed_on, until = False, float("inf")
    while len(seen) < len(children) and time.monotonic() < until:
        time.sleep(_POLL)
        if stopping.asked is not None and not passed_on:
            passed_on = True
            for child in children:
                child.send_signal(stopping.asked)
        for rank, child in enumerate(children):
            if child.poll() is not None and rank not in seen:
                seen.add(rank)
                if child.returncode:
                    failed.append(child.returncode)
                    patience = min(grace, LEFT_BEHIND) if child.returncode == PeerError.exit_code else grace
                    until = min(until, time.monotonic() + patience)
                if child.returncode < 0 and not passed_on:
                    remark(f"rank {rank} was ended by {_signal(-child.returncode)}")
    stuck = [str(rank) for rank in range(len(children)) if rank not in seen]
    if stuck:
        remark(f"rank {', '.join(stuck)} did not leave when another had, and is killed")
    own = [status for status in failed if status != PeerError.exit_code]
    status = (own or failed or [0])[0]
    return 128 - status if status < 0 else status


def _signal(number: int) -> str:
    """A signal's name, and who sends it besides people."""
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return f"{name}, as of a machine that is short of memory" if number == signal.SIGKILL else name


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])
