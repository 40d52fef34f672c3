"""The run directory against other processes, links, and what killed ones left behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from tests.core.conftest import ToyWorld
from tests.core.forked import distill_run
from tests.core.kills import state_of

from distill_core import durable
from distill_core.config.document import write_yaml
from distill_core.errors import RunDirectoryError
from distill_core.running import run_directory
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.tracking.events import Events


def test_of_two_starters_the_second_is_asked_again_once_it_holds_the_lock(world: ToyWorld) -> None:
    """A is checked while the directory is empty, B trains there, A comes to the lock: it must not go on from B's state."""
    directory = RunDirectory(world.root / "run")
    short = {"max_train_steps": 2}
    first = prepare(world.resolved(world.mapping("finetune", training=short)))
    directory.claim(first.asked())
    world.train(world.mapping("finetune", training={**short, "learning_rate": 0.5}))
    before = {path: path.read_bytes() for path in directory.root.rglob("*") if path.is_file()}
    with pytest.raises(RunDirectoryError, match=r"learning_rate: 0.5 there, 0.01 here"):
        train(first, directory, [], Console(quiet=True))
    assert before == {path: path.read_bytes() for path in directory.root.rglob("*") if path.is_file()}


def test_a_run_of_another_method_is_told_by_that_first_and_by_a_few_of_its_settings(world: ToyWorld) -> None:
    world.train(world.mapping("finetune", training={"max_train_steps": 2}))
    other = prepare(world.resolved(world.mapping("dmd2", training={"max_train_steps": 20})))
    with pytest.raises(RunDirectoryError) as refusal:
        RunDirectory(world.root / "run").claim(other.asked())
    said = str(refusal.value)
    assert "holds another run (recipe.method: 'finetune' there, 'dmd2' here; " in said
    assert said.count(" there, ") == 8
    changes = RunDirectory(world.root / "run").changes(other.asked())
    assert f"; and {len(changes) - 8} more); choose another output_dir" in said


def test_of_two_processes_on_one_directory_one_trains_and_the_other_is_refused_by_name(world: ToyWorld) -> None:
    mapping = world.mapping("finetune", training={"max_train_steps": 2})
    path = world.root / "run.yaml"
    path.write_text(write_yaml(mapping), encoding="utf-8")
    with RunDirectory(world.root / "run").locked():
        refused = distill_run(path, None, lambda: None)
    assert refused.status == RunDirectoryError.exit_code
    assert f"another process trains in {world.root / 'run'}; wait for it, or choose another output_dir" in refused.err
    assert [file.name for file in (world.root / "run").iterdir()] == [".lock"]
    assert distill_run(path, None, lambda: None).status == 0


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_said_and_trained_on(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    directory = world.train(world.mapping("finetune", training={"max_train_steps": 1}))
    assert json.loads(directory.exit_reason.read_text())["reason"] == "completed"
    assert (
        f"warning: the file system of {directory.root} gives no locks ({os.strerror(number)})"
        in capsys.readouterr().err
    )


def test_a_copy_of_a_run_directory_goes_on_by_itself_and_leaves_the_other_alone(world: ToyWorld) -> None:
    first = world.train(world.mapping("finetune", training={"max_train_steps": 4})).root
    copy = world.root / "copy"
    shutil.copytree(first, copy)
    before = {file: file.read_bytes() for file in first.rglob("*") if file.is_file()}
    longer = world.mapping("finetune", training={"max_train_steps": 6})
    other = world.train({**longer, "output_dir": str(copy)})
    assert {file: file.read_bytes() for file in first.rglob("*") if file.is_file()} == before
    here, there = (max((root / "checkpoints").iterdir()) for root in (world.train(longer).root, other.root))
    assert here.name == there.name == "step-00000006"
    assert state_of(here) == state_of(there)


NAMES = (
    ".lock",
    "run.yaml",
    "resolved.yaml",
    "events.jsonl",
    "metrics.jsonl",
    "quarantine.jsonl",
    "exit_reason.json",
    "content.json",
    "samples",
    "comparison",
    "checkpoints",
    "trackers",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_link_in_a_run_directory_is_refused_and_what_it_points_to_left_alone(world: ToyWorld, name: str) -> None:
    precious = world.root / "precious"
    precious.write_text("mine")
    (world.root / "run").mkdir()
    (world.root / "run" / name).symlink_to(precious)
    with pytest.raises(RunDirectoryError, match=rf"{name} is a link|cannot be made or written to"):
        world.train(world.mapping("finetune", training={"max_train_steps": 1}))
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    "name",
    ["metrics.jsonl", ".metrics.jsonl.sha256", "events.jsonl", "quarantine.jsonl", "resolved.yaml", "content.json",
     "comparison/table.json", "trackers/wandb/waiting.jsonl", "captions/a.safetensors"],
)  # fmt: skip
def test_a_pipe_in_a_run_directory_is_refused_by_name_and_nobody_waits_for_it(world: ToyWorld, name: str) -> None:
    mapping = world.mapping("finetune", training={"max_train_steps": 1})
    path = world.train(mapping).root / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(RunDirectoryError, match=rf"{name} is a pipe, a device or a socket"):
        world.train(mapping)


@pytest.mark.parametrize(
    ("name", "other"), [("metrics.jsonl", "file"), ("events.jsonl", "file"), ("samples", "folder")]
)
def test_a_folder_in_the_place_of_a_file_or_a_file_in_that_of_a_folder_is_refused_by_name(
    world: ToyWorld, name: str, other: str
) -> None:
    mapping = world.mapping("finetune", training={"max_train_steps": 1})
    path = world.train(mapping).root / name
    path.unlink(missing_ok=True)
    path.touch() if other == "folder" else path.mkdir()
    with pytest.raises(RunDirectoryError, match=rf"{name} is no {other}"):
        world.train(mapping)


def test_lines_are_added_to_files_alone(tmp_path: Path) -> None:
    """Whoever puts a pipe there while the run goes on is told so: without a reader, and with one."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        Events(tmp_path / "pipe").note("x", "y")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="is no file"):
        Events(tmp_path / "pipe").note("x", "y")
    assert os.read(reader, 9) == b""
    os.close(reader)
    with pytest.raises(OSError, match="is no file"):
        Events(Path("/dev/null")).note("x", "y")


def test_a_lock_that_is_a_link_is_refused_by_the_opening_itself(tmp_path: Path) -> None:
    """Whoever puts it there between the check and the opening gains nothing."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(precious)
    with (
        pytest.raises(RunDirectoryError, match="Too many levels of symbolic links"),
        RunDirectory(tmp_path / "run").locked(),
    ):
        pass
    assert precious.read_text() == "mine"


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    precious, link = tmp_path / "precious", tmp_path / "link"
    precious.write_text("mine")
    link.symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        Events(link).note("x", "y")
    durable.write_text(link, "a file of its own")
    assert not link.is_symlink()
    planted = durable.beside(link)
    planted.symlink_to(precious)
    durable.write_text(link, "again")
    assert precious.read_text() == "mine"
    assert link.read_text() == "again"


def test_a_lock_keeps_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("note of a person")
    with RunDirectory(tmp_path).locked():
        pass
    assert (tmp_path / ".lock").read_text() == "note of a person"


def test_what_killed_processes_were_writing_is_swept_away_and_nothing_else(world: ToyWorld) -> None:
    mapping = world.mapping("finetune", training={"max_train_steps": 1})
    root = world.train(mapping).root
    elsewhere = world.root / "elsewhere"
    left = [".resolved.yaml.tmp-4711", "samples/step-00000004/.00-a-seed0.mp4.tmp-4711", "comparison/.table.json.tmp-1"]
    kept = ["note.txt", "samples/.hidden", "samples/a.tmp-file", "x.tmp-4711"]
    for name in (*left, *kept):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    elsewhere.mkdir()
    (elsewhere / left[0]).touch()
    (root / "linked").symlink_to(elsewhere)
    world.train(mapping)
    assert [name for name in left if (root / name).exists()] == []
    assert [name for name in kept if not (root / name).exists()] == []
    assert (elsewhere / left[0]).exists()


def test_what_is_written_beside_has_a_name_that_the_sweep_knows(tmp_path: Path) -> None:
    for name in ("a.json", ".hidden", "no-suffix", "a b é.mp4"):
        durable.beside(tmp_path / name).touch()
    durable.sweep(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_could_not_be_made_is_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes").write_text("mine")

    def refusal(root: Path) -> str:
        with pytest.raises(RunDirectoryError) as caught:
            RunDirectory(root).claim({})
        return str(caught.value)

    assert f"{tmp_path / 'notes'} is a file; choose another output_dir" in refusal(tmp_path / "notes")
    assert f"{tmp_path / 'notes'} is a file; choose another output_dir" in refusal(tmp_path / "notes" / "run" / "a")
    assert "cannot be looked at: File name too long; choose another output_dir" in refusal(tmp_path / ("x" * 300))
    RunDirectory(tmp_path / "new" / "run").claim({})
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    assert f"{tmp_path} cannot be written to; choose another output_dir" in refusal(tmp_path / "new" / "run")


def test_a_folder_that_is_no_runs_is_refused_without_a_walk_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home directory, or the disk, would take minutes."""
    (tmp_path / "holidays").mkdir()
    (tmp_path / "holidays" / "a.mp4").touch()

    def walk(*folders: Path) -> Iterator[Path]:
        raise AssertionError(f"{folders} are looked through")

    monkeypatch.setattr(run_directory, "strangers_in", walk)
    with pytest.raises(RunDirectoryError, match="is not empty and holds no run; choose another output_dir"):
        RunDirectory(tmp_path).claim({})
