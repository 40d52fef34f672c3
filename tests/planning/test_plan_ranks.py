"""What is planned of one of several ranks, against real ones: what it holds, to the byte, and the most that it takes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.ranked import launched
from tests.planning.test_plan_measured import BF16, FULL, LARGER, ONE_KIND, allocations, run_yaml
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from distill_core.planning.ledger import NOBODY, Ledger, Owner
from distill_core.planning.made_up_rows import MadeUpRows
from distill_core.planning.plan import Plan
from distill_core.planning.stage import Stage
from distill_core.planning.subject import Subject, subject_of
from distill_core.planning.trial import play
from distill_core.plugins.discovery import discover
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.weightless import weightless
from distill_core.ranks.joined import joined
from distill_core.ranks.place import Place
from distill_core.stopping import Stopping
from distill_model_wan.testing import make_tiny_pipeline

RANKS = 3
"""By which no width of the models can be divided."""
CHEAP = ("three roles, one in bf16",)
SETTINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "all weights, averaged": ("finetune", ("roles.student.ema.decay=0.9",)),
    "three roles, one in bf16": ("dmd2", (ONE_KIND, FULL, BF16)),
    "LoRAs on weights in parts": ("dmd2", (ONE_KIND, "roles.student.lora={rank: 4}", "roles.critic.lora={}")),
    "whole on each": ("finetune", ("distributed.shard=1",)),
}


@pytest.fixture(scope="session")
def index() -> PluginIndex:
    """The installed plugins."""
    return discover()


class Remembering(Ledger):
    """A ledger that knows the most that each owner held."""

    def __init__(self) -> None:
        super().__init__()
        self.most: dict[Owner, int] = {}

    def own(self, owner: Owner, tensors: Iterable[Tensor]) -> None:
        """As ever."""
        super().own(owner, tensors)
        self.most[owner] = max(self.most.get(owner, 0), self.owned.get(owner, 0))


Measure = Callable[[Stage, Remembering], int]
"""What is done with a stage, and the most bytes that it took, if that is asked."""


def subject(folders: Path, index: PluginIndex, name: str, overrides: tuple[str, ...], ranks: int) -> Subject:
    """One of the settings, of several ranks with a sample each. To be called where all is weightless."""
    method, settings = SETTINGS[name]
    chosen = (*settings, *overrides, f"training.train_batch_size={ranks}")
    return subject_of(run_yaml(folders, method, "t2v"), chosen, index, on_card=False, ranks=ranks)


def staged(
    folders: Path, index: PluginIndex, names: Iterable[str], overrides: tuple[str, ...], ranks: int, measure: Measure
) -> Callable[[int], None]:
    def work(rank: int) -> None:
        """One of the ranks, which trains with weights and writes down what it held."""
        torch.set_num_threads(1)
        found: dict[str, Any] = {}
        for name in names:
            with weightless():
                each = subject(folders, index, name, overrides, ranks)
            environment = {**os.environ, "MASTER_PORT": str(int(os.environ["MASTER_PORT"]) + len(found))}
            place = Place.of(environment)
            with (
                Stopping() as stopping,
                joined(place, environment, stopping, each.layout, timeout=300, gpu=False) as those,
            ):
                ledger = Remembering()
                stage = Stage(each, MadeUpRows(each, 2 * ranks), ledger, hollow=False, ranks=those)
                measured = measure(stage, ledger)
                found[name] = {"peak": measured, "most": {" ".join(owner): size for owner, size in ledger.most.items()}}
                stage.close()
        if rank == 0:
            (folders / "found.json").write_text(json.dumps(found), encoding="utf-8")

    return work


def trained(stage: Stage, ledger: Remembering) -> int:
    """After a step."""
    stage.trainer.train_step(1)
    return 0


def profiled(stage: Stage, ledger: Remembering) -> int:
    """The most bytes of a step, by torch's profiler."""
    held = sum(size for owner, size in ledger.owned.items() if owner != NOBODY)
    stage.trainer.train_step(1)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        stage.trainer.train_step(2)
    return held + max(accumulate(allocations(profiled)))


def measured(
    folders: Path, index: PluginIndex, names: Iterable[str], overrides: tuple[str, ...], ranks: int, measure: Measure
) -> dict[str, dict[str, Any]]:
    """What the first of the ranks found, by setting."""
    for ended in launched(ranks, staged(folders, index, names, overrides, ranks, measure), folders).ended():
        assert ended.status == 0, ended.err
    found: dict[str, dict[str, Any]] = json.loads((folders / "found.json").read_text(encoding="utf-8"))
    return found


def planned(folders: Path, index: PluginIndex, name: str, overrides: tuple[str, ...], ranks: int) -> Plan:
    """Without weights."""
    with weightless():
        each = subject(folders, index, name, overrides, ranks)
        return Plan(each, play(each, print))


@pytest.mark.parametrize("names", [CHEAP, pytest.param(tuple(SETTINGS), marks=pytest.mark.slow)], ids=["one", "all"])
def test_what_a_rank_is_planned_to_hold_is_what_it_holds_to_the_byte(
    tmp_path: Path, index: PluginIndex, names: tuple[str, ...]
) -> None:
    make_tiny_pipeline(tmp_path / "t2v", "t2v")
    found = measured(tmp_path, index, names, (), RANKS, trained)
    for name in names:
        plan = planned(tmp_path, index, name, (), RANKS)
        told = {
            f"{held.name} {kind}": vars(held)[kind]
            for held in plan.held
            for kind in ("weights", "gradients", "optimizer", "average")
            if held.name != "encoders" and vars(held)[kind]
        }
        real = {owner: size for owner, size in found[name]["most"].items() if size and not owner.startswith("encoders")}
        assert told == real, name


@pytest.mark.slow
def test_what_ranks_change_of_a_peak_is_planned_to_within_5_percent_of_what_the_allocator_gave(
    tmp_path: Path, index: PluginIndex
) -> None:
    """Of so small a model, what kernels take for themselves is a tenth of a peak; it is of one process and of three alike."""
    make_tiny_pipeline(tmp_path / "t2v", "t2v")
    shares: dict[str, dict[int, float]] = {name: {} for name in SETTINGS}
    for ranks in (1, RANKS):
        found = measured(tmp_path, index, SETTINGS, LARGER, ranks, profiled)
        for name, each in shares.items():
            steps = [played for played in planned(tmp_path, index, name, LARGER, ranks).trial.played if played.share]
            each[ranks] = max(played.peak.peak for played in steps) / found[name]["peak"]
    assert all(abs(each[RANKS] / each[1] - 1.0) <= 0.05 for each in shares.values()), shares
