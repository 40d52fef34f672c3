"""A rank that dies, hangs, raises, disagrees, or is asked to leave: all leave, with rank and reason, and nothing is half saved."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.core.conftest import ToyWorld
from tests.core.forked import POINTS, Ended, begun, ending, signalled, toy_run
from tests.core.ranked import distill, free_port, launched, trained
from torch.distributed import TCPStore

from distill_core.checkpoint import Checkpoints
from distill_core.errors import DataError
from distill_core.tracking.events import Events

TIMEOUT = 4.0


def run_of(world: ToyWorld, **training: Any) -> dict[str, Any]:
    return world.mapping(
        "finetune",
        training={"max_train_steps": 8, "train_batch_size": 2, **training},
        checkpoint={"interval": 2, "keep_last": 9},
        distributed={"timeout": TIMEOUT},
    )


def ended(world: ToyWorld, rank: int, at: str, act: Callable[[], None]) -> list[Ended]:
    """How two processes end, one of which does something when it gets to a point."""
    distill(world, run_of(world))
    path = world.root / "run.yaml"

    def work(own: int) -> None:
        """The command, with or without the act."""
        toy_run(path, POINTS[at] if own == rank else None, act)

    return launched(2, work, world.root).ended()


def good_steps(world: ToyWorld) -> list[int]:
    """The steps of the checkpoints, all of them whole."""
    found = Checkpoints(world.root / "run" / "checkpoints", Events(None), keep_last=9).published()
    assert all(not checkpoint.faults() for checkpoint in found)
    return sorted(checkpoint.step for checkpoint in found)


def reason(world: ToyWorld) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((world.root / "run" / "exit_reason.json").read_text())
    return found


def raise_error() -> None:
    raise DataError("row 7 is no row")


def sleep() -> None:
    time.sleep(600)


@pytest.mark.parametrize(
    ("act", "status", "said"),
    [
        (raise_error, 65, "rank 1: row 7 is no row"),
        pytest.param(
            signalled(signal.SIGKILL),
            -signal.SIGKILL,
            "rank 1: it is gone: it was killed, or stopped",
            marks=pytest.mark.slow,
        ),
        pytest.param(sleep, 79, "rank 1: it is at step 3, and was waited for in vain", marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_fails_takes_all_with_it_and_they_say_which_and_why(
    world: ToyWorld, act: Callable[[], None], status: int, said: str
) -> None:
    began = time.monotonic()
    first, second = ended(world, 1, "updating", act)
    assert time.monotonic() - began < TIMEOUT + 35
    assert first.status == 79
    assert f"error: {said}" in first.err
    assert second.status == status
    assert "Traceback" not in first.err + second.err
    assert said in reason(world)["message"]
    assert good_steps(world) == [2]


@pytest.mark.slow
def test_a_rank_that_is_stopped_is_left_behind_by_the_others_and_they_say_so(world: ToyWorld) -> None:
    """By SIGSTOP: it lives, and does nothing."""
    distill(world, run_of(world))
    path, began = world.root / "run.yaml", time.monotonic()

    def work(rank: int) -> None:
        """The second one comes to a stop in its third step."""
        toy_run(path, POINTS["updating"] if rank else None, signalled(signal.SIGSTOP))

    both = launched(2, work, world.root)
    first = ending(both.children[0], both.logs[0])
    assert time.monotonic() - began < TIMEOUT + 35
    os.kill(both.children[1], signal.SIGKILL)
    assert ending(both.children[1], both.logs[1]).status == -signal.SIGKILL
    assert first.status == 79
    assert "error: rank 1: it is gone: it was killed, or stopped" in first.err
    assert "rank 1: it is gone" in reason(world)["message"]
    assert good_steps(world) == [2]


@pytest.mark.slow
def test_a_rank_that_is_killed_while_all_save_leaves_no_half_checkpoint(world: ToyWorld) -> None:
    first, _ = ended(world, 1, "saving", signalled(signal.SIGKILL))
    assert first.status == 79
    assert "rank 1" in first.err
    assert good_steps(world) == []
    trained(world, 2, run_of(world))
    assert good_steps(world) == [2, 4, 6, 8]


def test_when_the_first_rank_is_killed_another_says_so(world: ToyWorld) -> None:
    _, second = ended(world, 0, "updating", signalled(signal.SIGKILL))
    assert second.status == 79
    assert "error: rank 0: it" in second.err


def test_a_signal_to_one_rank_lets_all_save_the_same_step_and_leave(world: ToyWorld) -> None:
    outcomes = ended(world, 1, "updating", signalled(signal.SIGTERM))
    assert [each.status for each in outcomes] == [143, 143]
    assert reason(world)["reason"] == "stopped"
    stopped = good_steps(world)
    assert stopped[-1] in (3, 4)
    trained(world, 2, run_of(world))
    assert good_steps(world)[-1] == 8


def test_ranks_that_are_told_different_things_refuse_by_name(world: ToyWorld) -> None:
    distill(world, run_of(world))
    texts = [(world.root / "run.yaml").read_text()] * 2
    texts[1] = texts[1].replace("max_train_steps: 8", "max_train_steps: 6")
    for rank, text in enumerate(texts):
        (world.root / f"{rank}.yaml").write_text(text)

    other = world.root / "other" / "pluggy-99.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: pluggy\nVersion: 99\n")

    def work(rank: int) -> None:
        """Each its own file, and its own version of a package."""
        sys.path[:0] = [str(other.parent)] * rank
        toy_run(world.root / f"{rank}.yaml", None, lambda: None)

    first, second = launched(2, work, world.root).ended()
    assert (first.status, second.status) == (79, 79)
    assert "rank 1 has other than rank 0: the package pluggy, training.max_train_steps;" in first.err
    assert good_steps(world) == []


@contextmanager
def agent_store(folder: Path) -> Iterator[str]:
    """The port of a store that a process of its own holds, as torchrun's agent does for all attempts."""
    port = free_port()

    def hold() -> None:
        """For as long as it lives."""
        store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
        signal.pause()
        del store

    holder = begun(hold, folder / "store.log")
    try:
        yield str(port)
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


def test_processes_that_torchrun_starts_again_hear_nothing_of_the_attempt_before(world: ToyWorld) -> None:
    """Its store outlives them: that a rank had failed, and that the others were asked to leave."""
    distill(world, run_of(world))
    path = world.root / "run.yaml"

    def killed(rank: int) -> None:
        """Rank 1 dies in its third step; torchrun asks the other one to leave."""
        toy_run(path, POINTS["updating"], signalled(signal.SIGKILL if rank else signal.SIGTERM))

    with agent_store(world.root) as port:
        agent = {"MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": "True"}
        first = launched(2, killed, world.root, **agent, TORCHELASTIC_RESTART_COUNT="0").ended()
        assert first[1].status == -signal.SIGKILL
        assert first[0].status in (79, 128 + signal.SIGTERM)
        second = launched(2, distill(world, run_of(world)), world.root, **agent, TORCHELASTIC_RESTART_COUNT="1").ended()
    assert [each.status for each in second] == [0, 0], second
    assert "going on from step 2 of 8" in second[0].err
    assert reason(world)["reason"] == "completed"
