"""Kills while saving, and stops at every step: what a run promises to survive, tried."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.conftest import ToyWorld
from tests.core.kills import WAYS, Way, storm, unharmed

from distill_core.checkpoint import Checkpoint
from distill_core.errors import StoppedError
from distill_core.running.run_directory import RunDirectory
from distill_core.training.trainer import DistillTrainer


@pytest.mark.parametrize(
    ("way", "kills"),
    [
        pytest.param(Way("sync"), 2, id="sync"),
        pytest.param(Way("async"), 2, id="async"),
        *(pytest.param(way, 100, id=f"{way}, 100", marks=pytest.mark.nightly) for way in WAYS),
    ],
)
def test_kills_while_saving_do_no_harm(tmp_path: Path, way: Way, kills: int) -> None:
    found = storm(tmp_path, unharmed(tmp_path / "whole", way), kills, 1, way)
    assert found.bad == ()
    assert found.kills == kills
    assert kills < 100 or found.within > 0


def final(directory: RunDirectory, step: int) -> dict[str, torch.Tensor]:
    checkpoint = Checkpoint(directory.checkpoints / f"step-{step:08d}", step)
    tensors = {name: torch.zeros(shape) for name, shape in checkpoint.state()["tensors"].items()}
    checkpoint.load(tensors)
    return tensors


def run_of(world: ToyWorld, method: str, workers: int) -> dict[str, Any]:
    run = world.mapping(
        method,
        training={"gradient_accumulation_steps": 2, "max_train_steps": 12, "lr_scheduler": "cosine"},
        data={"num_workers": workers},
        checkpoint={"interval": 5, "keep_last": 99},
    )
    run["roles"]["student"]["ema"] = {"decay": 0.9, "start_step": 3}
    return run


@pytest.mark.parametrize(
    ("method", "workers", "number"),
    [
        ("dmd2", 0, signal.SIGTERM),
        pytest.param("finetune", 2, signal.SIGHUP, marks=pytest.mark.nightly),
        pytest.param("finetune", 0, signal.SIGUSR1, marks=pytest.mark.nightly),
        pytest.param("dmd2", 2, signal.SIGUSR1, marks=pytest.mark.nightly),
    ],
)
def test_a_run_that_is_stopped_at_every_step_ends_bitwise_where_an_unstopped_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, workers: int, number: signal.Signals
) -> None:
    whole, cut = ToyWorld(tmp_path / "whole"), ToyWorld(tmp_path / "cut")
    expected = whole.train(run_of(whole, method, workers))
    train_step, stops = DistillTrainer.train_step, []

    def stopped(trainer: DistillTrainer, step: int) -> None:
        stops.append(step)
        os.kill(os.getpid(), number)
        train_step(trainer, step)

    monkeypatch.setattr(DistillTrainer, "train_step", stopped)
    for step in range(1, 13):
        with pytest.raises(StoppedError, match=f"{number.name} came by step {step} of 12; the same command goes on"):
            cut.train(run_of(cut, method, workers))
    directory = cut.train(run_of(cut, method, workers))
    assert stops == list(range(1, 13))
    ours, theirs = final(directory, 12), final(expected, 12)
    assert {name.split(".")[2] for name in theirs} == {"modules", "average", "optimizer"}, "each is saved at all"
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
