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
from torch.utils._python_dispatch import TorchDispatchMode

from distill_core.cli.plan import _print
from distill_core.planning.cards import CARDS
from distill_core.planning.ledger import NOBODY, Ledger, Owner
from distill_core.planning.made_up_rows import MadeUpRows
from distill_core.planning.plan import Plan, as_json
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
"""What is done with a stage, and the bytes that are measured of it."""


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
                found[name] = {
                    "measured": measured,
                    "most": {" ".join(owner): size for owner, size in ledger.most.items()},
                }
                stage.close()
        if rank == 0:
            (folders / "found.json").write_text(json.dumps(found), encoding="utf-8")

    return work


class Sent(TorchDispatchMode):
    """Counts the bytes that this rank gets from others, by the collectives that it enters; those of the host's integers are no load."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Carry out an operation."""
        match str(func).split(".")[:2]:
            case ["c10d", "_allgather_base_" | "_reduce_scatter_base_"]:
                self.bytes += abs(args[0].nbytes - args[1].nbytes)
            case ["c10d", "allreduce_"]:
                self.bytes += sum(each.nbytes for each in args[0] if each.is_floating_point()) * 2 * (RANKS - 1) / RANKS
        return func(*args, **(kwargs or {}))


def trained(stage: Stage, ledger: Remembering) -> int:
    """The bytes of a step that came from other ranks."""
    with Sent() as sent:
        stage.trainer.train_step(1)
    return round(sent.bytes)


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
def test_what_a_rank_is_planned_to_hold_is_what_it_holds_to_the_byte_and_to_get_what_it_gets(
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
        (step,) = [played for played in plan.trial.played if played.share]
        assert sum(step.sent.values()) == pytest.approx(found[name]["measured"], rel=1e-3), name  # a few scalars go too


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
            each[ranks] = max(played.peak.peak for played in steps) / found[name]["measured"]
    assert all(abs(each[RANKS] / each[1] - 1.0) <= 0.05 for each in shares.values()), shares


def test_what_gpus_send_and_what_the_host_keeps_is_told(
    tmp_path: Path, index: PluginIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tiny_pipeline(tmp_path / "t2v", "t2v")
    plan = planned(tmp_path, index, "whole on each", ("checkpoint.mode=async",), 2)
    verdicts = [plan.on(card) for card in CARDS.values()]
    plain, (student, _) = as_json(plan, verdicts), plan.held
    assert plain["sent_per_step"] == {"student": student.gradients}  # 2 (N - 1) / N of them, and N is 2
    assert plain["host_snapshot"] == plan.trial.checkpoint > 3 * student.gradients
    assert [each["seconds_sending"] for each in plain["cards"]] == [
        pytest.approx(student.gradients / (0.75 * rate)) for rate in (32e9, 32e9, 32e9, 450e9, 450e9)
    ]
    _print(plan, verdicts)
    said = capsys.readouterr().out
    assert f"gives as much: student {student.gradients / 2**30:.2f}" in said
    assert "by NVLink 4" in said
    assert "checkpoint.mode is async: its copy of that in host memory, of each process" in said
