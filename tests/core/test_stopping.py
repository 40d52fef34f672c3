"""Signals: what they do to a process that trains, and what a resume makes of it. The command line itself, on toy models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.core.conftest import ToyWorld

from distill_core.checkpoint import Checkpoint
from distill_core.config.document import write_yaml
from distill_core.held_signals import HeldSignals

REPOSITORY = Path(__file__).parents[2]

COMMAND = """
import sys, time
from pathlib import Path
from tests.core.conftest import INDEX
from distill_core.checkpoint import store
from distill_core.cli import main
from distill_core.plugins import discovery

here, go_on = map(Path, sys.argv[1:3])
save_tensors = store.save_tensors

def held_up(folder, tensors):
    save_tensors(folder, tensors)
    here.touch()
    while not go_on.exists():
        time.sleep(0.01)

store.save_tensors = held_up
discovery.discover = lambda: INDEX
main(sys.argv[3:])
"""
"""``distill`` with the toy plugins; every save waits for a file to appear, having made another."""


class Run:
    """A run of the toy world in a process of its own, which waits in its first save."""

    def __init__(self, world: ToyWorld, steps: int = 5000) -> None:
        self.root = world.root / "run"
        self.here, self.go_on = world.root / "here", world.root / "go_on"
        self.path = world.root / "run.yaml"
        self.path.write_text(write_yaml(world.mapping("finetune", training={"max_train_steps": steps})))
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, self.here, self.go_on, "run", self.path],
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        self.wait_until(self.here.exists)

    def wait_until(self, holds: Callable[[], object]) -> None:
        """Return once it holds; fail if the process ends before, or takes too long."""
        deadline = time.monotonic() + 120
        while not holds():
            assert time.monotonic() < deadline
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)

    def ended(self) -> tuple[int, str]:
        """The exit status and stderr; it has ended in words of its own, not in a traceback."""
        _, err = self.process.communicate(timeout=120)
        assert "Traceback" not in err
        return self.process.returncode, err

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
    run.process.send_signal(signal.SIGUSR1)
    status, err = run.ended()
    assert status == 128 + signal.SIGUSR1
    newest = run.checkpoints()[-1]
    assert f"the same command goes on from {newest}" in err
    assert Checkpoint(newest, int(newest.name.removeprefix("step-"))).faults() == []
    assert reason(run) == "stopped"


@pytest.mark.parametrize("insist", [False, True])
def test_ctrl_c_in_a_save_lets_it_finish_and_a_second_one_does_not(world: ToyWorld, insist: bool) -> None:
    run = Run(world)
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.3)  # two signals at once would be one
    if insist:
        run.process.send_signal(signal.SIGINT)
    else:
        run.go_on.touch()
    status, err = run.ended()
    assert status == 130
    assert reason(run) == "interrupted"
    assert "SIGINT: finishing a checkpoint first; again to leave now" in err
    assert ("nothing was saved yet" if insist else f"goes on from {run.root}/checkpoints/step-00000004") in err
    assert [path.name for path in run.checkpoints()] == ([] if insist else ["step-00000004"])
    assert insist or Checkpoint(run.checkpoints()[0], 4).faults() == []


def test_a_cluster_that_sends_its_signal_twice_still_gets_a_checkpoint(world: ToyWorld) -> None:
    run = Run(world)
    for _ in range(2):  # from the scheduler, and passed on by a parent
        run.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    run.go_on.touch()
    status, err = run.ended()
    assert status == 143
    assert err.count("SIGTERM: leaving after this step") == 1
    assert [path.name for path in run.checkpoints()] == ["step-00000004", "step-00000005"]


def test_a_kill_in_a_save_leaves_nothing_that_counts_and_a_resume_clears_it_away(world: ToyWorld) -> None:
    run = Run(world, steps=12)
    run.process.kill()
    assert run.ended()[0] == -signal.SIGKILL
    (leftover,) = run.checkpoints()
    assert leftover.name.startswith(".tmp-")
    assert not (run.root / "exit_reason.json").exists()
    world.train(world.mapping("finetune"))
    assert [path.name for path in run.checkpoints()] == ["step-00000004", "step-00000008", "step-00000012"]


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """The SIGUSR2s that came through to a handler of the process's own."""
    numbers: list[int] = []
    usual = signal.signal(signal.SIGUSR2, lambda number, _: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGUSR2, usual)


def test_a_held_signal_is_remembered_and_afterwards_all_is_as_before(heard: list[int]) -> None:
    with HeldSignals(signal.SIGUSR2, insist=False, notice="later") as held:
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert held.received is signal.SIGUSR2
    assert heard == []
    os.kill(os.getpid(), signal.SIGUSR2)
    assert heard == [signal.SIGUSR2]


def test_who_insists_gets_the_usual_course(heard: list[int]) -> None:
    with HeldSignals(signal.SIGUSR2, insist=True, notice="later") as held:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert (held.received, heard) == (signal.SIGUSR2, [])
        os.kill(os.getpid(), signal.SIGUSR2)
    assert heard == [signal.SIGUSR2]


def test_a_signal_that_the_process_ignores_stays_ignored(heard: list[int]) -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    with HeldSignals(signal.SIGUSR2, insist=False, notice="later") as held:
        os.kill(os.getpid(), signal.SIGUSR2)
    assert held.received is None
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
