"""Signals: what they do to a process that trains, and what a resume makes of it. The command line itself, on toy models."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.core.conftest import ToyWorld
from tests.core.forked import Point, as_child, begun, ending, toy_run

from distill_core.checkpoint import Checkpoint, saving
from distill_core.config.document import write_yaml
from distill_core.errors import StoppedError
from distill_core.stopping import PASSED_ON, Stopping, StopSignal

AFTER_THE_TENSORS = Point(saving, "save_tensors", after=True, again=True)
"""In each save, when most of it is done."""


class Run:
    """A run of the toy world in a process of its own, which waits in each save for a file to appear, having made another."""

    def __init__(self, world: ToyWorld, steps: int = 5000, mode: str = "sync") -> None:
        self.root = world.root / "run"
        self.here, self.go_on = world.root / "here", world.root / "go_on"
        self.path = world.root / "run.yaml"
        self.log = world.root / "log"
        run = world.mapping("finetune", training={"max_train_steps": steps}, checkpoint={"mode": mode})
        self.path.write_text(write_yaml(run))
        self.child = begun(self.work, self.log)
        self.wait_until(self.here.exists)

    def work(self) -> None:
        """What the child does."""
        toy_run(self.path, AFTER_THE_TENSORS, self.hold_up)

    def hold_up(self) -> None:
        """Wait, in the child."""
        self.here.touch()
        while not self.go_on.exists():
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        """Send the child a signal."""
        os.kill(self.child, number)

    def wait_until(self, holds: Callable[[], object]) -> None:
        """Return once it holds; fail if the process ends before, or takes too long."""
        deadline = time.monotonic() + 120
        while not holds():
            assert time.monotonic() < deadline
            assert os.waitpid(self.child, os.WNOHANG) == (0, 0), self.log.read_text()
            time.sleep(0.02)

    def ended(self) -> tuple[int, str]:
        """The exit status and stderr; it has ended in words of its own, not in a traceback."""
        found = ending(self.child, self.log)
        assert "Traceback" not in found.err
        return found.status, found.err

    def checkpoints(self) -> list[Path]:
        """What lies among the checkpoints, published or not, oldest first."""
        return sorted((self.root / "checkpoints").iterdir())


def reason(run: Run) -> str:
    content: dict[str, str] = json.loads((run.root / "exit_reason.json").read_text())
    return content["reason"]


def test_a_signal_between_saves_ends_the_run_with_its_own_status(world: ToyWorld) -> None:
    run = Run(world)
    run.go_on.touch()
    run.wait_until(lambda: len(run.checkpoints()) > 1)
    run.send(signal.SIGUSR1)
    status, err = run.ended()
    assert status == 128 + signal.SIGUSR1
    newest = run.checkpoints()[-1]
    assert f"the same command goes on from {newest}" in err
    assert Checkpoint(newest, int(newest.name.removeprefix("step-"))).faults() == []
    assert reason(run) == "stopped"


@pytest.mark.parametrize("insist", [False, True])
def test_ctrl_c_in_a_save_lets_it_finish_and_a_second_one_does_not(world: ToyWorld, insist: bool) -> None:
    run = Run(world)
    run.send(signal.SIGINT)
    time.sleep(0.3)  # two signals at once would be one
    if insist:
        run.send(signal.SIGINT)
    else:
        run.go_on.touch()
    status, err = run.ended()
    assert status == 130
    assert reason(run) == "interrupted"
    assert "SIGINT: finishing a checkpoint first; again to leave now" in err
    assert ("nothing was saved yet" if insist else f"goes on from {run.root}/checkpoints/step-00000004") in err
    assert [path.name for path in run.checkpoints()] == ([] if insist else ["step-00000004"])
    assert insist or Checkpoint(run.checkpoints()[0], 4).faults() == []


@pytest.mark.parametrize("insist", [False, True])
def test_ctrl_c_waits_for_a_save_behind_training_and_a_second_one_does_not(world: ToyWorld, insist: bool) -> None:
    run = Run(world, mode="async")
    run.send(signal.SIGINT)
    time.sleep(0.3)
    if insist:
        run.send(signal.SIGINT)
        time.sleep(0.3)
    run.go_on.touch()
    status, err = run.ended()
    assert status == 130
    assert reason(run) == "interrupted"
    if insist:
        assert run.checkpoints() == []
    else:
        assert "goes on from" in err
        assert all(Checkpoint(path, int(path.name.removeprefix("step-"))).faults() == [] for path in run.checkpoints())


def test_a_cluster_that_sends_its_signal_twice_still_gets_a_checkpoint(world: ToyWorld) -> None:
    run = Run(world)
    for _ in range(2):  # from the scheduler, and passed on by a parent
        run.send(signal.SIGTERM)
        time.sleep(0.2)
    run.go_on.touch()
    status, err = run.ended()
    assert status == 143
    assert err.count("SIGTERM: finishing a checkpoint first") == 1
    assert [path.name for path in run.checkpoints()] == ["step-00000004"]


def test_a_terminal_that_is_closed_ends_the_run_with_a_checkpoint(world: ToyWorld) -> None:
    """What is written to it fails from then on, and costs nothing."""
    path, here = world.root / "run.yaml", world.root / "here"
    path.write_text(write_yaml(world.mapping("finetune", training={"max_train_steps": 5000})))
    child, terminal = pty.fork()
    if child == 0:
        as_child(lambda: toy_run(path, AFTER_THE_TENSORS, here.touch))
    deadline = time.monotonic() + 120
    while not here.exists():
        assert time.monotonic() < deadline
        if select.select([terminal], [], [], 0.02)[0]:
            os.read(terminal, 65536)  # one that nobody reads would hold the process up
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGHUP
    ended = json.loads((world.root / "run" / "exit_reason.json").read_text())
    newest = max((world.root / "run" / "checkpoints").iterdir())
    assert (ended["reason"], ended["signal"]) == ("stopped", "SIGHUP")
    assert str(newest) in ended["message"]
    assert Checkpoint(newest, int(newest.name.removeprefix("step-"))).faults() == []


def test_a_kill_in_a_save_leaves_nothing_that_counts_and_a_resume_clears_it_away(world: ToyWorld) -> None:
    run = Run(world, steps=12)
    run.send(signal.SIGKILL)
    assert run.ended()[0] == -signal.SIGKILL
    (leftover,) = run.checkpoints()
    assert leftover.name.startswith(".tmp-")
    assert not (run.root / "exit_reason.json").exists()
    world.train(world.mapping("finetune"))
    assert [path.name for path in run.checkpoints()] == ["step-00000004", "step-00000008", "step-00000012"]


@pytest.fixture
def terminated() -> Iterator[list[int]]:
    """The SIGTERMs that came through to a handler of the process's own."""
    numbers: list[int] = []
    usual = signal.signal(signal.SIGTERM, lambda number, _: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGTERM, usual)


def ask(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_a_held_signal_is_remembered_and_afterwards_all_is_as_before(terminated: list[int]) -> None:
    with Stopping() as stopping, stopping.held("later"):
        ask(signal.SIGTERM)
        ask(signal.SIGTERM)
        assert stopping.asked is signal.SIGTERM
    assert terminated == []
    ask(signal.SIGTERM)
    assert terminated == [signal.SIGTERM]


def test_a_signal_that_is_not_held_ends_what_is_going_on(terminated: list[int]) -> None:
    with pytest.raises(StoppedError, match="SIGTERM came before the run began") as ended, Stopping():
        ask(signal.SIGTERM)
    assert ended.value.exit_code == 143
    assert terminated == []


def test_a_second_ctrl_c_does_not_wait_and_one_that_a_launcher_passes_on_is_no_second_one() -> None:
    with Stopping() as stopping, stopping.held("later"):
        ask(signal.SIGINT)
        ask(signal.SIGINT)
        assert not stopping.insisted
        time.sleep(PASSED_ON)
        with pytest.raises(StopSignal):
            ask(signal.SIGINT)
        assert stopping.insisted


def test_what_is_held_ends_at_once_where_nothing_would_be_lost() -> None:
    with Stopping() as stopping, stopping.held("later"):
        with pytest.raises(StopSignal), stopping.at_once():
            ask(signal.SIGHUP)
        with pytest.raises(StopSignal), stopping.at_once():
            pytest.fail("a signal that came before does so too")


def test_an_error_that_hides_a_signal_is_that_signal() -> None:
    """An import of torch that Ctrl-C breaks off may go on, and fail later: AttributeError: module 'numpy' has no …"""

    def imported() -> None:
        with Stopping():
            with pytest.raises(StopSignal):
                ask(signal.SIGINT)
            raise AttributeError("module 'numpy' has no attribute 'ndarray'")

    with pytest.raises(StopSignal):
        imported()


def test_a_fault_of_its_own_stays_one_after_a_signal_that_was_held() -> None:
    with Stopping() as stopping, stopping.held("later"):
        ask(signal.SIGTERM)
        assert stopping.behind(ZeroDivisionError()) is None


def test_a_signal_that_the_process_ignores_stays_ignored(terminated: list[int]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Stopping() as stopping:
        ask(signal.SIGTERM)
    assert stopping.asked is None
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
