"""A run that is given so many seconds to leave: what does not fit into them is dropped, in a known order, and said."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import time
from pathlib import Path

import pytest
from tests.core.conftest import ToyWorld
from tests.core.forked import Ended, Point, forked, signalled, toy_run

from distill_core.checkpoint import saving
from distill_core.config.document import write_yaml
from distill_core.stopping import Stopping
from distill_core.tracking import Trackers
from distill_core.training.optimization import RoleOptimizer

SAVE = 0.6
"""Seconds that a save takes at the least, in these tests."""


def stopped(world: ToyWorld, grace: float | None, interval: int = 2, mode: str = "sync") -> Ended:
    """A run that saves at step 2, if not after each, and is asked to leave in its third."""
    settings = {"interval": interval, "grace": grace, "mode": mode}
    mapping = world.mapping("finetune", checkpoint=settings, tracking={"log_interval": 1})
    path = world.root / "run.yaml"
    path.write_text(write_yaml(mapping), encoding="utf-8")

    def work() -> None:
        save, finish = saving.save_tensors, Trackers.finish

        def slowly(*arguments: object, **named: object) -> object:
            time.sleep(SAVE)
            return save(*arguments, **named)

        def told(trackers: Trackers) -> None:
            (world.root / "closed").touch()
            finish(trackers)

        saving.save_tensors, Trackers.finish = slowly, told
        toy_run(path, Point(RoleOptimizer, "step", nth=3), signalled(signal.SIGUSR1))

    return forked(work, world.root / "log")


def checkpoints(world: ToyWorld) -> list[str]:
    return sorted(path.name for path in (world.root / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize("grace", [None, 60.0])
def test_a_save_that_fits_is_made_and_the_trackers_are_closed(world: ToyWorld, grace: float | None) -> None:
    ended = stopped(world, grace)
    assert ended.status == 128 + signal.SIGUSR1, ended.err
    assert checkpoints(world) == ["step-00000002", "step-00000003"]
    assert (world.root / "closed").exists()
    assert "grace" not in ended.err


def test_a_save_that_does_not_fit_is_not_begun_which_is_said_and_the_run_goes_on_from_the_one_before(
    world: ToyWorld,
) -> None:
    ended = stopped(world, 0.3)
    assert ended.status == 128 + signal.SIGUSR1, ended.err
    assert checkpoints(world) == ["step-00000002"]
    ending = json.loads((world.root / "run" / "exit_reason.json").read_text())
    assert ending["reason"] == "stopped"
    assert "s were left of checkpoint.grace, and the last save took" in ending["message"]
    assert f"the same command goes on from {world.root}/run/checkpoints/step-00000002" in ended.err
    assert json.loads((world.train(world.mapping("finetune")).root / "exit_reason.json").read_text())["step"] == 12


@pytest.mark.parametrize(
    ("interval", "mode", "saved"),
    [
        pytest.param(2, "async", ["step-00000002"], id="behind training, and one is going on"),
        pytest.param(1, "sync", ["step-00000001", "step-00000002"], id="due at that step"),
    ],
)
def test_neither_is_one_that_is_made_behind_training_or_was_due(
    world: ToyWorld, interval: int, mode: str, saved: list[str]
) -> None:
    ended = stopped(world, 0.3, interval, mode)
    assert ended.status == 128 + signal.SIGUSR1, ended.err
    assert checkpoints(world) == saved
    found = re.search(r"s were left of checkpoint.grace, and the last save took (\d+\.\d) s", ended.err)
    assert found is not None, ended.err
    assert float(found[1]) >= SAVE


def test_trackers_are_not_closed_when_the_time_is_over_and_that_is_said(world: ToyWorld) -> None:
    ended = stopped(world, 1e-6)
    assert "checkpoint.grace is over: the trackers are not closed" in ended.err
    assert not (world.root / "closed").exists()


def test_the_time_runs_from_the_first_signal_on(tmp_path: Path) -> None:
    with Stopping() as stopping, stopping.held("later"):
        assert stopping.left == math.inf
        stopping.grace = 5.0
        assert stopping.left == math.inf
        os.kill(os.getpid(), signal.SIGTERM)
        first = stopping.left
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        assert 4.0 < stopping.left < first < 5.0 + 1e-6
