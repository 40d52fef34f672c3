"""A run on another machine: its models are known by their content, not by where they lay."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tests.core.conftest import INDEX, ToyWorld

from distill_core.errors import CheckpointError, RunDirectoryError
from distill_core.finished.restore import RestoredRole, restore_role
from distill_core.running.preparation import Placement
from distill_core.testing.toy_spec import write_toy_model

CPU = Placement(torch.device("cpu"), torch.float32)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with a DMD2 run and its models in it."""
    world = ToyWorld(tmp_path / "here")
    world.train(world.mapping("dmd2", training={"max_train_steps": 5}))
    return world.root


def restored(root: Path, base: Path | None = None, name: str | None = None) -> RestoredRole:
    where = None if base is None else str(base)
    return restore_role(root, INDEX, name, step=None, averaged=True, placement=CPU, base=where)


def weights(role: RestoredRole) -> list[torch.Tensor]:
    return list(role.role.container.parameters())


def same(one: RestoredRole, other: RestoredRole) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_a_run_that_moved_with_its_models_is_restored_without_a_word(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = restored(trained / "run")
    shutil.move(trained, tmp_path / "there")
    after = restored(tmp_path / "there" / "run")
    assert same(before, after)
    assert after.facts.path == tmp_path / "there" / "student"
    assert capsys.readouterr().err == ""


def test_a_run_that_moved_alone_is_restored_from_the_folder_that_is_named_and_needs_no_other_role(
    trained: Path, tmp_path: Path
) -> None:
    before = restored(trained / "run")
    for name in ("run", "student"):
        shutil.copytree(trained / name, tmp_path / "there" / f"my-{name}")
    shutil.rmtree(trained)
    with pytest.raises(RunDirectoryError, match=r"student started from, is not there, .* name the folder by --base"):
        restored(tmp_path / "there" / "my-run")
    assert same(before, restored(tmp_path / "there" / "my-run", tmp_path / "there" / "my-student"))


def test_a_folder_that_the_run_did_not_start_from_is_refused_unless_it_is_named(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toy_model(trained / "student", seed=77)
    with pytest.raises(CheckpointError, match=r"\(model.student: sha256 \w{12} there, .*by --base"):
        restored(trained / "run")
    restored(trained / "run", trained / "student")
    assert "is not what" in capsys.readouterr().err


def test_a_damaged_record_of_the_run_is_refused_with_the_way_on(trained: Path) -> None:
    resolved = trained / "run" / "resolved.yaml"
    resolved.write_text(resolved.read_text().replace("guidance_scale: 5.0", "guidance_scale: 4.0"))
    with pytest.raises(
        RunDirectoryError, match=r"resolved.yaml is damaged; the command that trained the run writes it"
    ):
        restored(trained / "run")
