"""W&B without a network: whatever ends a process, its offline runs make one curve, every step once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.core.conftest import ToyWorld
from tests.core.forked import Point, distill_run, signalled
from tests.core.wandb_files import told

from distill_core.config.document import write_yaml
from distill_core.config.schema import Tracking
from distill_core.tracking import wandb_offline
from distill_core.tracking.jsonl import JsonlTracker
from distill_core.tracking.wandb_offline import OfflineWandbTracker

AT_STEP_7 = Point(JsonlTracker, "log", nth=8)


@pytest.fixture
def path(world: ToyWorld) -> Path:
    """A run of twelve steps, saved every fourth, with W&B offline."""
    tracking = {"log_interval": 1, "trackers": ["wandb"], "wandb_mode": "offline"}
    mapping = world.mapping("finetune", tracking=tracking, validation={"interval": 6, "max_prompts": 1})
    path = world.root / "run.yaml"
    path.write_text(write_yaml(mapping))
    return path


@pytest.mark.parametrize(
    ("point", "act"),
    [
        pytest.param(AT_STEP_7, signalled(signal.SIGKILL), id="killed"),
        pytest.param(AT_STEP_7, signalled(signal.SIGINT), id="Ctrl-C", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_ended_has_every_step_once_after_it_went_on(
    path: Path, point: Point, act: Callable[[], None]
) -> None:
    run = path.parent / "run"
    assert distill_run(path, point, act).status in (-signal.SIGKILL, 130)
    first = [line["step"] for line in told(run / "trackers" / "wandb")]
    assert first[:3] == [1, 2, 3]  # what the checkpoint of step 4 holds is there already
    assert distill_run(path, None, lambda: None).status == 0
    lines = told(run / "trackers" / "wandb")
    assert [line["step"] for line in lines] == list(range(1, 13))
    record: dict[int, dict[str, float]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        figures = json.loads(line)
        record.setdefault(figures["step"], {}).update(figures)
    for line in lines:
        assert {name: line[name] for name in record[line["step"]]} == pytest.approx(record[line["step"]])
    assert [line["step"] for line in lines if any(name.startswith("samples/") for name in line)] == [6, 12]


class FakeRun:
    """A W&B run that keeps what it is told in a folder that looks like W&B's."""

    def __init__(self, folder: Path) -> None:
        made = folder / "wandb" / "offline-run-20260101_000000-abc"
        (made / "files").mkdir(parents=True)
        self.dir = str(made / "files")
        self.lines: list[dict[str, Any]] = []

    def log(self, told: dict[str, Any], *, step: int, commit: bool) -> None:
        assert commit
        self.lines.append({**told, "step": step})

    def save(self, *_: object, **__: object) -> None: ...

    def finish(self) -> None:
        (Path(self.dir).parent / "lines.json").write_text(json.dumps(self.lines))


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], OfflineWandbTracker]:
    """Opens the tracker of a run that goes on from a step; W&B itself is not asked."""
    monkeypatch.setattr(wandb_offline, "started", lambda _, folder, *__: FakeRun(folder))
    return lambda step: OfflineWandbTracker(Tracking(wandb_mode="offline"), tmp_path, "run", {}, step)


def steps(folder: Path) -> list[int]:
    files = sorted(folder.glob("wandb/offline-run-*/lines.json"))
    return [line["step"] for file in files for line in json.loads(file.read_text())]


def test_steps_after_the_last_checkpoint_are_told_by_who_makes_them_again(
    tmp_path: Path, tracker: Callable[[int], OfflineWandbTracker]
) -> None:
    first = tracker(0)
    for step in range(1, 8):
        first.log({"loss": 1.0}, step)
        if step == 4:
            first.saved(4)
    first.finish()  # it failed at step 7
    assert steps(tmp_path) == [1, 2, 3, 4]
    second = tracker(4)
    for step in range(5, 9):
        second.log({"loss": 1.0}, step)
    second.saved(8)
    second.finish()
    assert steps(tmp_path) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_kill_between_an_offline_run_and_its_record_tells_nothing_twice(
    tmp_path: Path, tracker: Callable[[int], OfflineWandbTracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tracker(0)
    for step in (1, 2, 3):
        first.log({"loss": 1.0}, step)
    with monkeypatch.context() as patch:
        patch.setattr(first, "_keep", lambda _: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            first.saved(3)
    assert steps(tmp_path) == [1, 2]
    second = tracker(3)
    second.log({"loss": 1.0}, 4)
    second.saved(4)
    second.finish()
    assert steps(tmp_path) == [1, 2, 3, 4]


def test_a_kill_in_the_making_of_an_offline_run_leaves_nothing_of_it(
    tmp_path: Path, tracker: Callable[[int], OfflineWandbTracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tracker(0)
    first.log({"loss": 1.0}, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            first.saved(2)
    assert steps(tmp_path) == []
    tracker(2).finish()
    assert steps(tmp_path) == [1]
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_run_that_starts_over_is_another_one_to_wandb(
    tmp_path: Path, tracker: Callable[[int], OfflineWandbTracker]
) -> None:
    identities = set()
    for _ in range(2):
        tracker(0).saved(2)
        identities.add(wandb_offline.identity_in(tmp_path))
    assert len(identities) == 2


def test_a_rolled_back_run_tells_of_no_step_twice(
    tmp_path: Path, tracker: Callable[[int], OfflineWandbTracker]
) -> None:
    run = tracker(0)
    for step in (1, 2, 3):
        run.log({"loss": 1.0}, step)
    run.go_back(2)
    run.log({"loss": 2.0}, 3)
    run.saved(3)
    run.finish()
    assert steps(tmp_path) == [1, 2, 3]
