"""``--resume STEP|PATH``: a run that goes on from the checkpoint that a person names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.core.conftest import INDEX, ToyWorld
from tests.core.kills import state_of

from distill_core.checkpoint import Checkpoint
from distill_core.config.document import write_yaml
from distill_core.config.resolve import examine
from distill_core.errors import CheckpointError, DistillError
from distill_core.running.continuation import differences
from distill_core.running.may_change import RESTS_ON, table
from distill_core.running.preparation import prepare_found
from distill_core.running.resuming import named_checkpoint
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train

pytestmark = pytest.mark.xdist_group("resuming")  # what they share is made once

DOCS = Path(__file__).parents[2] / "docs" / "reliability.md"


def going_on(world: ToyWorld, mapping: dict[str, Any], resume: str | None, *overrides: str) -> RunDirectory:
    """``distill run --resume``."""
    path = world.root / "run.yaml"
    path.write_text(write_yaml(mapping), encoding="utf-8")
    prepared = prepare_found(examine(path, overrides, INDEX), resume=resume)
    directory = RunDirectory(Path(prepared.run.config.output_dir))
    train(prepared, directory, [], Console(quiet=True))
    return directory


def a_run(world: ToyWorld, **training: Any) -> dict[str, Any]:
    run = world.mapping("finetune", training=training, checkpoint={"keep_last": 9}, tracking={"log_interval": 1})
    run["roles"]["student"]["ema"] = {"decay": 0.9}
    return run


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a run of twelve steps, saved at 4, 8 and 12."""
    world = ToyWorld(tmp_path_factory.mktemp("once"))
    going_on(world, a_run(world), None)
    return world.root


@pytest.fixture
def trained(once: Path, world: ToyWorld) -> tuple[ToyWorld, dict[str, Any], RunDirectory]:
    """A copy of it: it goes on wherever it lies."""
    directory = RunDirectory(world.root / "run")
    shutil.copytree(once / "run", directory.root)
    return world, a_run(world), directory


Trained = tuple[ToyWorld, dict[str, Any], RunDirectory]


def listed(directory: RunDirectory) -> list[str]:
    return sorted(path.name for path in directory.checkpoints.iterdir())


def test_a_step_that_the_run_went_on_from_is_refused_and_nothing_is_touched(trained: Trained) -> None:
    world, mapping, directory = trained
    before = directory.metrics.read_text()
    with pytest.raises(DistillError) as refused:
        going_on(world, mapping, "4")
    assert (
        f"--resume 4: {directory.root} went on from there, to step-00000012, step-00000008; leave --resume out to go on from the newest, "
        "or set them aside by checkpoint.accept=[later], once"
    ) in str(refused.value)
    assert listed(directory) == ["step-00000004", "step-00000008", "step-00000012"]
    assert directory.metrics.read_text() == before


def test_what_came_later_is_set_aside_and_the_run_ends_at_the_same_bits(trained: Trained) -> None:
    world, mapping, directory = trained
    whole, figures = state_of(directory.checkpoints / "step-00000012"), directory.metrics.read_text()
    going_on(world, mapping, "4", "checkpoint.accept=[later]")
    assert [name.rpartition("-")[0] for name in listed(directory)[:2]] == ["later-00000008", "later-00000012"]
    assert state_of(directory.checkpoints / "step-00000012") == whole
    steps = [json.loads(line)["step"] for line in directory.metrics.read_text().splitlines()]
    assert steps == list(range(1, 13)), "no step twice"
    (kept,) = directory.root.glob("metrics.jsonl.later-*")
    assert kept.read_text() == figures


def test_a_run_that_went_back_with_other_settings_does_not_take_the_old_steps_for_its_own(
    tmp_path: Path, trained: Trained
) -> None:
    world, mapping, directory = trained
    other = ("training.learning_rate=0.02", "checkpoint.resume=changed")
    old = state_of(directory.checkpoints / "step-00000012")
    going_on(world, mapping, "4", *other, "checkpoint.accept=[later]")
    fresh = ToyWorld(tmp_path / "fresh")
    going_on(fresh, a_run(fresh), None, "training.max_train_steps=4")
    right = going_on(fresh, a_run(fresh), None, *other)
    found = [state_of(each.checkpoints / "step-00000012") for each in (directory, right)]
    assert found[0] == found[1] != old


def test_a_checkpoint_of_a_copied_run_is_gone_on_from_in_another_folder(tmp_path: Path, trained: Trained) -> None:
    world, mapping, directory = trained
    copied = tmp_path / "copied"
    shutil.copytree(directory.root, copied)
    mapping["output_dir"] = str(tmp_path / "other")
    other = going_on(world, mapping, str(copied / "checkpoints" / "step-00000008"))
    assert listed(other) == ["step-00000012"]
    assert state_of(other.checkpoints / "step-00000012") == state_of(directory.checkpoints / "step-00000012")


def test_a_checkpoint_elsewhere_of_a_step_that_the_run_has_itself_asks_for_the_flag(
    tmp_path: Path, trained: Trained
) -> None:
    world, mapping, directory = trained
    shutil.copytree(directory.checkpoints / "step-00000012", tmp_path / "step-00000012")
    with pytest.raises(DistillError, match="went on from there, to step-00000012"):
        going_on(world, mapping, str(tmp_path / "step-00000012"))


def test_the_identity_is_compared_as_ever(tmp_path: Path, trained: Trained) -> None:
    world, _, directory = trained
    mapping = a_run(world, seed=4) | {"output_dir": str(tmp_path / "other")}
    with pytest.raises(CheckpointError, match=r"training.seed: 3 there, 4 here.*go on with what it is by checkpoint"):
        going_on(world, mapping, str(directory.checkpoints / "step-00000012"))
    assert not (tmp_path / "other" / "checkpoints").exists()


def test_a_named_checkpoint_that_is_damaged_is_refused_and_no_other_taken(trained: Trained) -> None:
    world, mapping, directory = trained
    newest = directory.checkpoints / "step-00000012"
    (newest / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"step-00000012 is damaged: .*; name another one, or leave --resume out"):
        going_on(world, mapping, "12", "training.max_train_steps=14")
    assert Checkpoint(directory.checkpoints / "step-00000008", 8).faults() == []


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("5", "--resume 5: {root} has no such checkpoint; it has 12, 8"),
        (
            "{root}",
            "--resume {root}: that is no checkpoint; name one of {root}/checkpoints/step-00000012, {root}/checkpoints/step-00000008",
        ),
        ("{root}/checkpoints", "that is no checkpoint; name one of {root}/checkpoints/step-00000012, "),
        ("{root}/nowhere", "that is no checkpoint; name a step, or a folder step-00000100 of a run's checkpoints"),
        ("nowhere/step-00000004", "--resume nowhere/step-00000004: that is no checkpoint; name a step"),
        ("-4", "--resume -4: that is no checkpoint"),
        ("²", "--resume ²: that is no checkpoint"),
        ("", "that is no checkpoint; name a step"),
    ],
)
def test_what_names_no_checkpoint_is_refused_with_those_that_there_are(tmp_path: Path, named: str, said: str) -> None:
    for step in (8, 12):
        (tmp_path / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    with pytest.raises(CheckpointError) as refused:
        named_checkpoint(named.format(root=tmp_path), RunDirectory(tmp_path))
    assert said.format(root=tmp_path) in str(refused.value)


def test_to_resume_and_never_to_is_refused(trained: Trained) -> None:
    world, mapping, _ = trained
    with pytest.raises(DistillError, match=r"checkpoint.resume is never"):
        going_on(world, mapping, "12", "checkpoint.resume=never")


def test_what_changes_memory_alone_may_be_other_and_what_an_older_run_did_not_say_is_no_difference() -> None:
    before = {"roles": {"a": {"ema": {"decay": 0.9}}}, "data": {"mix": []}, "training": {"max_train_steps": 4}}
    role = {"recompute": "full", "recompute_every": 2, "placement": "stream", "ema": {"decay": 0.9, "placement": "cpu"}}
    role |= {"guidance_passes": 1}
    training = {
        "max_train_steps": 4,
        "compile": False,
        "recompute_every": 2,
        "enable_gradient_checkpointing_type": "full",
    }
    assert differences(before, {**before, "roles": {"a": role}, "training": training}) == []
    compiled = {**before, "training": {**training, "compile": True}}
    assert differences(before, compiled) == ["training.compile: false there, true here"]


def test_what_may_change_on_resume_stands_in_the_docs_as_the_code_has_it() -> None:
    assert table() in DOCS.read_text(encoding="utf-8"), "paste `python -m distill_core.running.may_change` there"


def test_the_table_has_every_kind_of_thing_that_a_run_rests_on(trained: Trained) -> None:
    _, _, directory = trained
    there = Checkpoint(directory.checkpoints / "step-00000012", 12).manifest().identity.rests_on
    kinds = {name.partition(".")[0] for name in RESTS_ON}
    assert {name.partition(".")[0] for name in there} <= kinds
