"""A rank that fails, is killed, or is asked to leave before it has joined the others: they do not wait for it, and say which and why."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from tests.core.conftest import ToyWorld
from tests.core.forked import POINTS, Ended, signalled, toy_run
from tests.core.ranked import distill, launched
from tests.core.test_ranks_leaving import agent_store

from distill_core.errors import ConfigError, PeerError, Problem
from distill_core.ranks.meeting import Meeting
from distill_core.ranks.place import Place

LONG = 300.0
"""Seconds; nobody is to wait for them."""


def no_gpu() -> None:
    raise ConfigError([Problem("training.device", "this machine has 1 GPUs, and this is its process number 2")])


def broken() -> None:
    raise ZeroDivisionError("no fault of the person's")


def ended(
    world: ToyWorld,
    act: Callable[[], None],
    *ranks: int,
    timeout: float = LONG,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> list[Ended]:
    """How two processes end, of which ``ranks`` do something while they check the run."""
    work = distill(world, run_of(world, timeout))

    def checking(rank: int) -> None:
        """The command, with or without the act."""
        if rank in ranks:
            toy_run(world.root / "run.yaml", POINTS["checking"], act)
        work(rank)

    began = time.monotonic()
    found = launched(2, checking, world.root, **environment).ended()
    assert time.monotonic() - began < 60
    assert not any("frame #" in each.err for each in found)  # torch's own tracebacks
    return found


def run_of(world: ToyWorld, timeout: float) -> dict[str, Any]:
    return world.mapping("finetune", training={"train_batch_size": 2}, distributed={"timeout": timeout})


@pytest.mark.parametrize(
    ("act", "status", "said"),
    [
        (no_gpu, 2, "rank 1: run.yaml: training.device: this machine has 1 GPUs"),
        pytest.param(broken, 70, "rank 1: ZeroDivisionError: no fault of the person's", marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_fails_before_it_joins_is_not_waited_for(
    world: ToyWorld, act: Callable[[], None], status: int, said: str
) -> None:
    first, second = ended(world, act, 1)
    assert (first.status, second.status) == (79, status)
    assert f"error: {said}" in first.err
    assert said.partition(": ")[2] in second.err
    assert not (world.root / "run").exists()


def test_the_first_one_that_does_says_so_and_the_others_leave(world: ToyWorld) -> None:
    first, second = ended(world, no_gpu, 0)
    assert (first.status, second.status) == (2, 79)
    assert "process number 2" in first.err
    assert second.err == ""


@pytest.mark.slow
def test_one_that_fails_long_before_the_first_has_come_is_heard_all_the_same(world: ToyWorld) -> None:
    """It says why, and waits."""
    work = distill(world, run_of(world, LONG))

    def late(rank: int) -> None:
        """The second one fails at once; the first one comes to the meeting 12 seconds later."""
        if rank:
            toy_run(world.root / "run.yaml", POINTS["checking"], no_gpu)
        time.sleep(12)
        work(rank)

    first, second = launched(2, late, world.root).ended()
    assert (first.status, second.status) == (79, 2)
    assert "error: rank 1: run.yaml: training.device" in first.err
    assert "frame #" not in second.err
    assert "rank 1 ends, and waits 120 s at most to tell the others: run.yaml: training.device" in second.err


@pytest.mark.slow
def test_all_that_fail_alike_say_so_and_leave(world: ToyWorld) -> None:
    assert [each.status for each in ended(world, no_gpu, 0, 1)] == [2, 2]


@pytest.mark.slow
def test_with_the_store_of_torchrun_it_is_told_too(world: ToyWorld) -> None:
    with agent_store(world.root) as port:
        agent = {"MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
        first, second = ended(world, no_gpu, 1, environment=agent)
        assert (first.status, second.status) == (79, 2)
        assert "error: rank 1: run.yaml: training.device" in first.err
        again = launched(
            2, distill(world, run_of(world, LONG)), world.root, **agent | {"TORCHELASTIC_RESTART_COUNT": "1"}
        )
        assert [each.status for each in again.ended()] == [0, 0]


@pytest.mark.slow
def test_a_signal_to_one_that_has_not_joined_lets_all_leave(world: ToyWorld) -> None:
    both = ended(world, signalled(signal.SIGTERM), 1)
    assert [each.status for each in both] == [143, 143]
    assert all("SIGTERM came before the run began; nothing was written" in each.err for each in both)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_one_that_is_killed_before_it_joins_is_named_when_the_time_is_over(world: ToyWorld, killed: int) -> None:
    both = ended(world, signalled(signal.SIGKILL), killed, timeout=3.0)
    assert both[killed].status == -signal.SIGKILL
    other = both[1 - killed]
    assert other.status == 79
    assert f"error: rank {1 - killed} of 2 waited 3 s for rank {killed} at 127.0.0.1:" in other.err
    assert "Traceback" not in other.err


def test_a_port_that_something_else_has_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        meeting = Meeting(Place(0, 2, 0), {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
        with pytest.raises(PeerError, match=f"rank 0 cannot listen at 127.0.0.1:{port}; choose another MASTER_PORT"):
            meeting.reached(2.0)


def test_an_address_that_there_is_not_is_named_at_once() -> None:
    meeting = Meeting(Place(0, 2, 0), {"MASTER_ADDR": "nowhere.invalid", "MASTER_PORT": "29500"})
    with pytest.raises(PeerError, match=r"rank 0 cannot listen at nowhere\.invalid:29500; .* a MASTER_ADDR that all"):
        meeting.reached(60.0)
