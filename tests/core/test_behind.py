"""Saving behind training: from a copy, by a thread, one at a time; and by the clock."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.conftest import ToyWorld
from tests.core.kills import state_of
from tests.core.ranked import trained
from tests.core.test_blocks import Large

from distill_core.checkpoint import Checkpoint, Checkpoints, saving
from distill_core.config.duration import seconds
from distill_core.errors import DiskFullError, NonFiniteError
from distill_core.ranks.ranks import ALONE, Ranks
from distill_core.tracking.events import Events
from distill_core.training.saving import Saving
from distill_core.training.trainer import DistillTrainer


class Gate:
    """Holds every write of tensors up until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        save_tensors = saving.save_tensors

        def held(*arguments: Any, **named: Any) -> Any:
            self.reached.set()
            assert self.opened.wait(60)
            return save_tensors(*arguments, **named)

        monkeypatch.setattr(saving, "save_tensors", held)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    found = Gate(monkeypatch)
    yield found
    found.opened.set()


def behind(root: Path, keep_last: int = 9) -> Checkpoints:
    return Checkpoints(root, Events(None), keep_last=keep_last, behind=True)


def test_what_is_saved_is_the_state_as_it_was_however_training_goes_on(tmp_path: Path, gate: Gate) -> None:
    state, checkpoints = Large(), behind(tmp_path)
    before = {name: tensor.clone() for name, tensor in state.named.items()}
    for step in (1, 2):
        gate.opened.clear()
        path = checkpoints.save(state, step, None)
        assert gate.reached.wait(60)
        assert not path.exists()
        for tensor in state.named.values():
            tensor.add_(1.0)
        gate.opened.set()
        checkpoints.settle()
        found = state.empty("a")
        Checkpoint(path, step).verified().load(found)
        assert all(torch.equal(found[name], before[name] + (step - 1)) for name in found)


def test_a_second_save_waits_for_the_first(tmp_path: Path, gate: Gate) -> None:
    state, checkpoints = Large(), behind(tmp_path)
    first = checkpoints.save(state, 1, None)
    threading.Timer(0.3, gate.opened.set).start()
    checkpoints.save(state, 2, None)
    assert Checkpoint(first, 1).faults() == []
    checkpoints.settle()
    assert [each.step for each in checkpoints.published()] == [2, 1]


def test_a_save_that_is_given_up_leaves_nothing(tmp_path: Path, gate: Gate) -> None:
    checkpoints = behind(tmp_path)
    checkpoints.save(Large(), 1, None)
    assert gate.reached.wait(60)
    threading.Timer(0.1, gate.opened.set).start()
    with pytest.raises(KeyboardInterrupt), checkpoints.left_whole():
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def full(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Let the disk be full from the nth save on."""
    save_tensors, calls = saving.save_tensors, 0

    def failing(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= at:
            raise OSError(28, "No space left on device")
        return save_tensors(*arguments, **named)

    monkeypatch.setattr(saving, "save_tensors", failing)


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that are trained from now on."""
    train_step, steps = DistillTrainer.train_step, list[int]()

    def seen(trainer: DistillTrainer, step: int) -> None:
        steps.append(step)
        trainer.checkpoints._behind.wait()  # so that it is known when a save fails
        train_step(trainer, step)

    monkeypatch.setattr(DistillTrainer, "train_step", seen)
    return steps


def in_async(world: ToyWorld, interval: int, **training: Any) -> dict[str, Any]:
    settings = {"mode": "async", "interval": interval, "keep_last": 99}
    return world.mapping("finetune", training={"max_train_steps": 8, **training}, checkpoint=settings)


@pytest.mark.parametrize(("interval", "last"), [(2, 5), (4, 8)], ids=["the next step", "the end"])
def test_a_save_that_fails_behind_training_ends_the_run_at(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, interval: int, last: int
) -> None:
    full(monkeypatch, at=2)
    steps = steps_of(monkeypatch)
    with pytest.raises(DiskFullError, match=r"no room for the checkpoint of step .*; free some space, and the same"):
        world.train(in_async(world, interval))
    assert steps[-1] == last
    assert [path.name for path in (world.root / "run" / "checkpoints").iterdir()] == [f"step-0000000{interval}"]


def test_an_error_of_the_run_waits_for_the_save_and_is_not_hidden_by_it(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, gate: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    train_step = DistillTrainer.train_step

    def failing(trainer: DistillTrainer, step: int) -> None:
        if step == 3:
            threading.Timer(0.2, gate.opened.set).start()
            raise ZeroDivisionError
        train_step(trainer, step)

    monkeypatch.setattr(DistillTrainer, "train_step", failing)
    with pytest.raises(ZeroDivisionError):
        world.train(in_async(world, interval=2))
    checkpoints = world.root / "run" / "checkpoints"
    assert Checkpoint(checkpoints / "step-00000002", 2).faults() == []


def broken_after(monkeypatch: pytest.MonkeyPatch, broken: int, times: int) -> None:
    """Let the update of a step break the weights, so often."""
    train_step, left = DistillTrainer.train_step, times

    def breaking(trainer: DistillTrainer, step: int) -> None:
        nonlocal left
        train_step(trainer, step)
        if step == broken and left:
            left -= 1
            with torch.no_grad():
                next(iter(trainer.state.tensors().values())).view(-1)[0] = float("nan")

    monkeypatch.setattr(DistillTrainer, "train_step", breaking)


@pytest.mark.parametrize("step", [4, 8])
def test_what_is_not_finite_is_not_saved_behind_training_either(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    broken_after(monkeypatch, step, 1)
    with pytest.raises(NonFiniteError, match="not finite"):
        world.train(in_async(world, interval=2))
    found = sorted(path.name for path in (world.root / "run" / "checkpoints").iterdir())
    assert found[-1] == f"step-0000000{step - 2}"


@pytest.mark.parametrize("step", [4, 8])
def test_a_run_that_rolls_back_does_so_from_a_save_behind_training(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    broken_after(monkeypatch, step, 1)
    directory = world.train(in_async(world, interval=2, on_nonfinite="rollback"))
    newest = Checkpoints(directory.checkpoints, Events(None), keep_last=9).first_good(Checkpoint.verified)
    assert newest is not None
    assert newest.step == 8
    assert "rolled_back" in directory.events.read_text()


def states(directory: Path) -> dict[str, str]:
    """What is saved in a run directory, by checkpoint."""
    return {path.name: state_of(path) for path in (directory / "checkpoints").glob("step-*")}


def test_saved_behind_training_or_by_the_clock_the_training_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worlds = {name: ToyWorld(tmp_path / name) for name in ("steps", "behind", "time")}
    settings = {
        "steps": {"interval": 1},
        "behind": {"interval": 1, "mode": "async"},
        "time": {"interval": None, "every": "2h", "mode": "async"},
    }
    ticks = itertools.count(0, 3600)
    monkeypatch.setattr(Saving, "now", lambda _: next(ticks))
    found = {}
    for name, world in worlds.items():
        checkpoint = {"keep_last": 99, **settings[name]}
        run = world.mapping("finetune", training={"max_train_steps": 8}, checkpoint=checkpoint)
        found[name] = states(world.train(run).root)
    assert found["behind"] == found["steps"]
    assert len(found["steps"]) == 8
    assert 1 < len(found["time"]) < 8
    assert found["time"].items() <= found["steps"].items()


class Others(Ranks):
    """One of two ranks, not the first."""

    rank, size = 1, 2


def test_the_first_ranks_clock_counts_and_all_save_at_the_step_that_it_falls_on(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, Events(None), keep_last=1)
    first, other = Saving(checkpoints, ALONE, None, 10.0), Saving(checkpoints, Others(), None, 10.0)
    for each in (first, other):
        each.saved_at -= 11.0
    assert (first.say(), other.say()) == ((1, 0), (0, 0))
    for each in (first, other):
        each.hear([0, 0])
        assert not each.due(7)
        each.hear([1, 0])
        assert each.due(8)
    first.save(Large(), 8, None)
    assert not first.due(9)
    assert first.say() == (0, 0)


@pytest.mark.parametrize(("text", "length"), [("90s", 90.0), ("30min", 1800.0), ("1.5h", 5400.0), ("2 h", 7200.0)])
def test_a_length_of_time_is_read(text: str, length: float) -> None:
    assert seconds(text) == length


@pytest.mark.parametrize("text", ["", "30", "0s", "30 minutes", "-1h", "1e3s", "1h30min"])
def test_what_is_no_length_of_time_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(ValueError, match="no length of time; write a number above 0 and s, min or h"):
        seconds(text)


@pytest.mark.parametrize("shard", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_two_ranks_save_behind_training_what_they_save_at_once(tmp_path: Path, shard: int) -> None:
    found = []
    for mode in ("sync", "async"):
        world = ToyWorld(tmp_path / mode)
        settings = {"interval": 1, "keep_last": 99, "mode": mode}
        training, spread = {"max_train_steps": 4}, {"shard": shard}
        run = world.mapping("finetune", training=training, checkpoint=settings, distributed=spread)
        found.append(states(trained(world, 2, run)))
    assert found[0] == found[1]
    assert len(found[0]) == 4
