"""A full disk: said with path, need and free space, before a save starts where that can be known; what was there is as it was."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.core.conftest import ToyWorld
from tests.core.test_checkpoints import toy_state

from distill_core import durable
from distill_core.checkpoint import Checkpoint, Checkpoints, saving
from distill_core.errors import DiskFullError
from distill_core.running.run_directory import RunDirectory
from distill_core.tracking.events import Events
from distill_core.tracking.fanout import Trackers
from distill_core.tracking.jsonl import JsonlTracker
from distill_core.tracking.tensorboard import TensorBoardTracker

Usage = namedtuple("Usage", "total used free")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Inside, a write beyond ``size`` bytes of a file fails, as on a full disk (with EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_save_that_there_is_no_room_for_is_refused_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, state = Checkpoints(tmp_path, Events(None), keep_last=3), toy_state()
    checkpoints.save(state, 1, None)
    started: list[Path] = []
    monkeypatch.setattr(saving, "save_tensors", lambda folder, *_, **__: started.append(folder))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 300_000))
    with pytest.raises(DiskFullError) as refused:
        checkpoints.save(state, 2, None)
    assert str(refused.value) == (
        f"{tmp_path}: no room for the checkpoint of step 2: it takes 1.0 MB and 0.3 MB are free there; free some space, and the same "
        f"command goes on from {tmp_path}/step-00000001"
    )
    assert started == []
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("size", [0, 500, 4000])
def test_a_save_that_a_full_disk_stops_names_the_path_and_leaves_the_last_one(tmp_path: Path, size: int) -> None:
    checkpoints, state = Checkpoints(tmp_path, Events(None), keep_last=3), toy_state()
    checkpoints.save(state, 1, None)
    with largest_file(size), pytest.raises(DiskFullError, match=rf"{tmp_path}: no room .* step 2 \(File too large\)"):
        checkpoints.save(state, 2, None)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert Checkpoint(tmp_path / "step-00000001", 1).faults() == []


def test_a_full_disk_that_keeps_figures_from_being_written_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("x" * 100)
    with largest_file(50), pytest.raises(OSError, match="File too large") as raised, durable.appending(path) as file:
        file.write("more")
    assert raised.value.filename == str(path)
    with largest_file(50), pytest.raises(OSError, match="File too large") as raised:
        durable.write_text(tmp_path / "page.html", "y" * 100)
    assert raised.value.filename == str(tmp_path / "page.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_on_a_full_disk_a_run_still_says_why_it_ended(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it set aside is room enough."""
    fsync = os.fsync
    directory = RunDirectory(world.root / "run")

    def full(descriptor: int) -> None:
        if directory.reserve.exists() and directory.metrics.exists():
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="no room for the checkpoint of step 4"):
        world.train(world.mapping("finetune"))
    assert "no room for the checkpoint of step 4" in json.loads(directory.exit_reason.read_text())["message"]


def test_what_ended_a_run_is_not_hidden_by_a_disk_that_takes_no_word_more(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def broken(*_: object) -> None:
        monkeypatch.setattr(os, "fsync", full)
        raise ZeroDivisionError("in a plugin")

    from distill_core.running import session

    monkeypatch.setattr(session, "build", broken)
    with pytest.raises(ZeroDivisionError):
        world.train(world.mapping("finetune"))
    assert "exit_reason.json could not be written: No space left on device" in capsys.readouterr().err


def test_tensorboard_on_a_full_disk_is_left_out_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trackers = Trackers(
        JsonlTracker(tmp_path / "metrics.jsonl"), [TensorBoardTracker(tmp_path / "board")], Events(None)
    )
    with largest_file(4000):
        for step in range(400):
            if not trackers.others:
                break
            trackers.log({"loss": 1.0}, step if step < 50 else 50)
            if step > 50:
                trackers._each(
                    lambda tracker: tracker.writer.flush() if isinstance(tracker, TensorBoardTracker) else None
                )
    assert trackers.others == []
    err = capsys.readouterr().err
    assert "TensorBoardTracker failed and is left out: OSError" in err
    assert "Traceback" not in err
