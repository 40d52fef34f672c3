"""Going on with a run directory: what a person is told, what may change, and what an earlier process wrote."""

from __future__ import annotations

import json
import os
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.core.conftest import ToyWorld

from distill_core.checkpoint import Checkpoint
from distill_core.errors import NonFiniteError, RunDirectoryError
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train


def console_of(world: ToyWorld, mapping: dict[str, Any], *overrides: str) -> str:
    """Train, and return what the terminal showed."""
    resolved = world.resolved(mapping, *overrides)
    prepared = prepare(resolved)
    directory = RunDirectory(Path(resolved.config.output_dir))
    directory.claim(resolved.to_mapping())
    shown = StringIO()
    train(prepared, directory, [], Console(file=shown, width=200))
    return shown.getvalue()


def events(directory: RunDirectory, name: str) -> list[str]:
    lines = [json.loads(line) for line in directory.events.read_text().splitlines()]
    return [line["message"] for line in lines if line["event"] == name]


@pytest.mark.parametrize("done", [0, 4])
def test_the_advice_of_a_run_that_broke_works_to_the_letter(world: ToyWorld, done: int) -> None:
    training = {"max_grad_norm": None, "learning_rate": 1e30}
    mapping = world.mapping("finetune", training=training, tracking={"log_interval": 1})
    if done:
        world.train(mapping, "training.learning_rate=0.01", f"training.max_train_steps={done}")
    where = r"goes on from \S+step-00000004, with" if done else "goes on from the start, as nothing was saved, with"
    with pytest.raises(NonFiniteError, match=where) as broken:
        world.train(mapping, "checkpoint.resume=changed")
    better = "training.learning_rate=0.005"
    with pytest.raises(RunDirectoryError, match=r"or go on with the new settings by checkpoint\.resume=changed"):
        world.train(mapping, better)
    (advice,) = re.findall(r"add `(\S+)` to the command", str(broken.value))
    directory = world.train(mapping, better, advice)
    assert Checkpoint(directory.checkpoints / "step-00000012", 12).faults() == []
    assert json.loads(directory.metrics.read_text().splitlines()[-1])["learning_rate/student"] == 0.005
    assert events(directory, "changed")[-1] == "training.learning_rate: 1e+30 there, 0.005 here"
    assert len(events(directory, "resumed")) == (2 if done else 0)
    world.train(mapping, better)  # from now on it is this run's own setting


def test_a_resumed_run_says_where_it_goes_on_from(world: ToyWorld) -> None:
    first = console_of(world, world.mapping("finetune"))
    assert "going on" not in first
    longer = console_of(world, world.mapping("finetune", training={"max_train_steps": 14}))
    assert "going on from step 12 of 14" in longer


@pytest.mark.parametrize("steps", [12, 8])
def test_a_run_that_has_nothing_left_to_do_says_how_to_train_longer(world: ToyWorld, steps: int) -> None:
    console_of(world, world.mapping("finetune"))
    shown = console_of(world, world.mapping("finetune", training={"max_train_steps": steps}))
    assert f"step 12 of {steps} is done already; raise training.max_train_steps to train on" in shown


def test_an_exit_reason_does_not_outlive_the_start_of_the_next_process(world: ToyWorld) -> None:
    directory = world.train(world.mapping("finetune"))
    assert directory.exit_reason.exists()
    directory.open("", {}, [], {})
    assert not directory.exit_reason.exists()


def test_an_exit_reason_says_what_ended_the_run(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    from distill_core.running import session

    def fails(*_: object) -> None:
        raise ZeroDivisionError("in a plugin")

    monkeypatch.setattr(session, "build", fails)
    with pytest.raises(ZeroDivisionError):
        world.train(world.mapping("finetune"))
    ended = json.loads((world.root / "run" / "exit_reason.json").read_text())
    assert (ended["reason"], ended["message"]) == ("error", "ZeroDivisionError: in a plugin")


def test_figures_that_are_made_again_are_in_no_record_twice(world: ToyWorld) -> None:
    """The first process got to step 6, two after its last checkpoint; TensorBoard shows one curve, as metrics.jsonl does."""
    tracking = {"log_interval": 1, "trackers": ["tensorboard"]}
    world.train(world.mapping("finetune", tracking=tracking, training={"max_train_steps": 6}))
    for checkpoint in (world.root / "run" / "checkpoints").glob("step-00000006/*.json"):
        checkpoint.unlink()
    directory = world.train(world.mapping("finetune", tracking=tracking, training={"max_train_steps": 8}))
    board = EventAccumulator(str(directory.trackers / "tensorboard")).Reload()
    steps = [json.loads(line)["step"] for line in directory.metrics.read_text().splitlines()]
    assert steps == [event.step for event in board.Scalars("loss")] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_figures_of_a_start_are_in_no_record_twice_when_the_run_starts_over(world: ToyWorld) -> None:
    mapping = world.mapping("finetune", tracking={"log_interval": 2, "trackers": ["tensorboard"]})
    directory = world.train(mapping)
    first = directory.metrics.read_text().splitlines()
    directory.metrics.write_text('{"step": 0, "sharpness": 1.0}\n' + "\n".join(first))
    for checkpoint in directory.checkpoints.iterdir():
        checkpoint.rename(world.root / checkpoint.name)
    world.train(mapping, "checkpoint.accept=[checkpoints]")
    assert [json.loads(line)["step"] for line in directory.metrics.read_text().splitlines()] == [2, 4, 6, 8, 10, 12]


def test_a_run_that_died_at_its_first_file_can_be_started_again(world: ToyWorld) -> None:
    root = world.root / "run"
    root.mkdir()
    for name in (".lock", ".resolved.yaml.tmp-4711"):
        (root / name).touch()
    world.train(world.mapping("finetune", training={"max_train_steps": 1}))


@pytest.mark.parametrize("failing", range(4))
def test_a_run_whose_directory_could_not_be_opened_can_be_started_again(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """A full disk, or a kill, at each of the files that are written first."""
    syncs = [0]
    fsync = os.fsync

    def full(descriptor: int) -> None:
        syncs[0] += 1
        if syncs[0] == 2 * failing + 1:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    mapping = world.mapping("finetune", training={"max_train_steps": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            world.train(mapping)
    assert {path.name for path in (world.root / "run").glob(".*")} <= {".lock", ".reserve"}
    world.train(mapping)
