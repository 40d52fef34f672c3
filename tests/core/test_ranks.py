"""One YAML on one, two and four processes, whole or in parts: the same training, and one kind of checkpoint for all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tests.core.conftest import ToyWorld
from tests.core.ranked import launched, trained
from tests.core.test_training import comparable, metrics, with_ema

from distill_core.checkpoint.tensors import read_tensors
from distill_core.ranks.joined import joined
from distill_core.ranks.layout import Layout
from distill_core.ranks.place import Place
from distill_core.running.build import build
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.stopping import Stopping
from distill_core.tracking.events import Events
from distill_core.tracking.progress import Progress
from distill_core.training.parts import sharded
from distill_core.training.trainer import DistillTrainer

pytestmark = pytest.mark.xdist_group("ranks")  # what they share is made once

LAYOUTS = {"one": (1, 1), "two, whole": (2, 1), "two, in parts": (2, 2), "four, two by two": (4, 2)}
"""Processes, and those that share a model's weights."""


def run_of(world: ToyWorld, method: str, shard: int, parts: int) -> dict[str, Any]:
    training = {"max_train_steps": 4, "train_batch_size": 4, "gradient_accumulation_steps": parts}
    run = with_ema(world, method, training=training, tracking={"log_interval": 1}, distributed={"shard": shard})
    run["validation"] = {"interval": 4, "max_prompts": 3, "sampling_steps": 2}
    if method == "dmd2":
        run["method_config"] = {"generator_update_interval": 2}
    return run


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ToyWorld]:
    """DMD2, two micro-steps a step, in each layout."""
    worlds = {name: ToyWorld(tmp_path_factory.mktemp("ranks") / name) for name in LAYOUTS}
    for name, (size, shard) in LAYOUTS.items():
        trained(worlds[name], size, run_of(worlds[name], "dmd2", shard, parts=2))
    return worlds


def assert_alike(worlds: Mapping[str, ToyWorld]) -> None:
    """The figures of every step, and the files of every sample."""
    found = {name: comparable(metrics(RunDirectory(world.root / "run"))) for name, world in worlds.items()}
    for name, lines in found.items():
        assert len(lines) == len(found["one"]) >= 4
        for one, several in zip(found["one"], lines, strict=True):
            assert several == pytest.approx(one, rel=1e-4), name
        samples = (worlds[name].root / "run" / "samples").rglob("*.mp4")
        assert len({file.name for file in samples}) == 3


def test_several_ranks_distil_as_one_does(distilled: Mapping[str, ToyWorld]) -> None:
    assert_alike(distilled)


@pytest.mark.parametrize("lora", [None, {"rank": 2, "init": "gaussian"}])
def test_several_ranks_finetune_as_one_does(tmp_path: Path, lora: dict[str, Any] | None) -> None:
    worlds = {name: ToyWorld(tmp_path / name) for name in ("one", "two, in parts")}
    for name, world in worlds.items():
        size, shard = LAYOUTS[name]
        run = run_of(world, "finetune", shard, parts=1)
        if lora is not None:
            run["roles"]["student"]["lora"] = lora
        trained(world, size, run)
    assert_alike(worlds)


def resumed(world: ToyWorld, run: dict[str, Any], shard: int, result: Path) -> Callable[[int], None]:
    """Brings a run back, and writes down its state and how many of its tensors are in parts."""
    resolved = world.resolved(run)

    def work(rank: int) -> None:
        """As a process does, up to where it would train."""
        place = Place.of(os.environ)
        with (
            Stopping() as stopping,
            joined(place, os.environ, stopping, Layout(place.size // shard, shard), timeout=60, gpu=False) as ranks,
        ):
            directory, quiet = RunDirectory(world.root / "run"), Progress(Console(quiet=True))
            runtime = build(prepare(resolved, place), directory, [], Events(None), quiet, stopping, ranks)
            assert isinstance(runtime.trainer, DistillTrainer)
            tensors = runtime.trainer.state.tensors()
            whole = {name: each.full_tensor() if sharded(each) else each for name, each in tensors.items()}
            if rank == 0:
                split = sum(map(sharded, tensors.values()))
                torch.save((whole, runtime.trainer.state.numbers(), split), result)

    return work


@pytest.mark.parametrize("saved_by", LAYOUTS)
def test_what_any_number_of_ranks_saved_any_other_loads_to_the_bit(
    distilled: Mapping[str, ToyWorld], saved_by: str, tmp_path: Path
) -> None:
    world = distilled[saved_by]
    there = read_tensors(world.root / "run" / "checkpoints" / "step-00000004" / "dcp")
    numbers = []
    for name, (size, shard) in LAYOUTS.items():
        result = tmp_path / f"{name}.pt"
        work = resumed(world, run_of(world, "dmd2", shard, parts=2), shard, result)
        for ended in launched(size, work, tmp_path).ended():
            assert ended.status == 0, ended.err
        here, found, split = torch.load(result)
        assert here.keys() == there.keys()
        assert all(torch.equal(here[name], there[name]) for name in there), name
        assert (split > 0) == (shard > 1)
        numbers.append(found)
    assert all(each == numbers[0] for each in numbers)
