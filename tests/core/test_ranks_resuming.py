"""Several processes that go on: past a checkpoint that one finds damaged, from one that is named, from a run that lies elsewhere."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.core.conftest import ToyWorld
from tests.core.forked import toy_run
from tests.core.kills import state_of
from tests.core.ranked import distill, launched, trained
from torch import Tensor

from distill_core.checkpoint import Checkpoint, hashed_files
from distill_core.errors import DamagedError, RunDirectoryError
from distill_core.running.run_directory import RunDirectory


def run_of(world: ToyWorld, **checkpoint: Any) -> dict[str, Any]:
    """Saved at 2, 4 and 6, by two processes in two files: each holds a part of the weights."""
    return world.mapping(
        "finetune",
        training={"max_train_steps": 6, "train_batch_size": 2},
        checkpoint={"interval": 2, "keep_last": 9, **checkpoint},
        distributed={"shard": 2, "timeout": 20.0},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    """A run that nothing happened to, and its world."""
    world = ToyWorld(tmp_path_factory.mktemp("whole") / "world")
    trained(world, 2, run_of(world))
    return world


@pytest.fixture
def copied(whole: ToyWorld, tmp_path: Path) -> ToyWorld:
    """The same, elsewhere: models, data and run."""
    shutil.copytree(whole.root, tmp_path / "elsewhere")
    world = object.__new__(ToyWorld)  # which would write its models and data anew
    world.root = tmp_path / "elsewhere"
    return world


def steps(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "run" / "checkpoints").iterdir())


def last(root: Path) -> str:
    return state_of(root / "run" / "checkpoints" / "step-00000006")


def test_what_one_rank_finds_damaged_all_pass_over(whole: ToyWorld, copied: ToyWorld) -> None:
    """Only where it reads: e.g. by its machine's own memory, or its share."""
    distill(copied, run_of(copied))
    load = Checkpoint.load

    def misread(checkpoint: Checkpoint, tensors: Mapping[str, Tensor], *, unverified: bool = False) -> None:
        load(checkpoint, tensors, unverified=unverified)
        if checkpoint.step == 6:
            raise DamagedError("__1_0.distcp: not what was written")

    def work(rank: int) -> None:
        if rank == 1:
            Checkpoint.load = misread
        toy_run(copied.root / "run.yaml", None, lambda: None)

    first, second = launched(2, work, copied.root).ended()
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert "step-00000006 is damaged and passed over: __1_0.distcp: not what was written" in first.err
    assert "going on from step 4 of 6" in first.err
    assert last(copied.root) == last(whole.root)


@pytest.mark.slow
def test_a_step_that_is_named_is_gone_on_from_by_all(whole: ToyWorld, copied: ToyWorld) -> None:
    for ended in launched(2, distill(copied, run_of(copied), "--resume", "2"), copied.root).ended():
        assert "went on from there, to step-00000006, step-00000004; leave --resume out" in ended.err, (
            "none waits for another"
        )
    assert steps(copied.root) == steps(whole.root)
    trained(copied, 2, run_of(copied), "--resume", "2", "checkpoint.accept=[later]")
    assert last(copied.root) == last(whole.root)
    assert [name.rpartition("-")[0] for name in steps(copied.root)[:2]] == ["later-00000004", "later-00000006"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_a_checkpoint_of_a_run_that_moved_is_gone_on_from_elsewhere(
    whole: ToyWorld, copied: ToyWorld, size: int
) -> None:
    """By as many processes as made it, or one."""
    mapping = run_of(copied)
    mapping["output_dir"] = str(copied.root / "other" / "run")
    mapping["distributed"]["shard"] = size
    trained(copied, size, mapping, "--resume", str(copied.root / "run" / "checkpoints" / "step-00000004"))
    assert steps(copied.root / "other") == ["step-00000006"]
    assert (last(copied.root / "other") == last(whole.root)) or size == 1
    assert steps(copied.root) == steps(whole.root)


@pytest.mark.slow
def test_a_second_launch_on_one_directory_is_refused_on_every_rank(copied: ToyWorld) -> None:
    with RunDirectory(copied.root / "run").locked():
        first, second = launched(2, distill(copied, run_of(copied)), copied.root).ended()
    assert first.status == RunDirectoryError.exit_code
    assert f"another process trains in {copied.root / 'run'}" in first.err
    assert (second.status, second.err) == (79, ""), "the first one has said it"
    trained(copied, 2, run_of(copied))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_rank_whose_disk_is_full_keeps_all_from_saving(copied: ToyWorld, mode: str) -> None:
    """Its own disk: of a file system that is not shared."""
    shutil.rmtree(copied.root / "run" / "checkpoints" / "step-00000006")
    path = copied.root / "run.yaml"
    distill(copied, run_of(copied, mode=mode))

    def work(rank: int) -> None:
        """The second one writes nothing."""

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        if rank == 1:
            hashed_files.HashedFileSystem.create_stream = full
        toy_run(path, None, lambda: None)

    for ended in launched(2, work, copied.root).ended():
        assert ended.status == 74
        assert "no room for the checkpoint of step 6 (No space left on device)" in ended.err
        assert "Traceback" not in ended.err
    assert steps(copied.root) == ["step-00000002", "step-00000004"]
