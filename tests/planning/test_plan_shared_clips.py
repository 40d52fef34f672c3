"""What is planned of processes that share the tokens of a clip, against real ones, and what they cannot share."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tests.core.ranked import launched
from tests.planning.test_plan_measured import BF16, FULL, LARGER, ONE_KIND, folders, index, run_yaml

from distill_core.errors import ConfigError
from distill_core.planning.changes import Planner
from distill_core.planning.ledger import Ledger, Phase
from distill_core.planning.made_up_rows import MadeUpRows
from distill_core.planning.stage import Stage
from distill_core.planning.subject import Subject, subject_of
from distill_core.planning.trial import play
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.weightless import weightless
from distill_core.ranks.joined import joined
from distill_core.ranks.place import Place
from distill_core.stopping import Stopping

__all__ = ["folders", "index"]

LONG = ("data.num_frames=113",)
"""Clips of many more tokens than a caption has, which every process has whole."""
SHARED = ("distributed.context=2", "training.train_batch_size=1", "distributed.shard=1")


@pytest.mark.parametrize(
    ("method", "gpus", "more", "said"),
    [
        ("finetune", 2, ["distributed.context=3"], "2 processes cannot share clips by groups of 3; start a multiple of 3"),
        ("finetune", 1, ["distributed.context=2"], "1 process cannot share clips by groups of 2; start a multiple of 2"),
        ("finetune", 4, ["distributed.context=4"], "4 processes cannot share attention heads equally: role 'student' has 2;"
         " set it to 1 or 2"),
        ("finetune", 2, ["distributed.context=2", "data.num_height=48", "data.num_width=48"],
         r"2 processes cannot share tokens equally: latents \[T, H, W\] = \[3, 6, 6\] have 27; set it to 1, or cut clips"),
        ("finetune", 2, ["distributed.context=2", "data.num_frames=13", "data.num_height=48", "data.num_width=48",
         "comparison={rows: {short: {role: student, steps: 2, num_frames: 9}}}"],
         r"2 processes cannot share tokens equally: latents \[T, H, W\] = \[3, 6, 6\] have 27"),
        ("finetune", 4, ["distributed.context=2", "training.train_batch_size=3"],
         "2 groups of 2 processes cannot share a batch of 3 equally; set it to a multiple of 2"),
        ("finetune", 2, ["distributed.context=2", "training.compile=true"],
         "training.compile: .*blocks that share a clip's tokens are not compiled"),
        ("finetune", 2, ["distributed.context=2", "roles.student.lora={dropout: 0.1}"],
         "roles.student.lora.dropout: .*processes that share a clip's tokens would drop the same"),
        ("dmd2", 2, ["distributed.context=2", "method_config.attn_kind=vsa"],
         "role 'student' is asked for vsa attention, and processes that share a clip's tokens attend densely"),
    ],
)  # fmt: skip
def test_what_processes_cannot_share_is_refused_by_name(
    folders: Path, index: PluginIndex, method: str, gpus: int, more: Sequence[str], said: str
) -> None:
    with weightless():
        make = Planner(run_yaml(folders, method, "t2v"), (), index, print)
        with pytest.raises(ConfigError, match=said):
            make(["training.train_batch_size=4", *more], gpus)


def subject(folders: Path, index: PluginIndex, method: str, overrides: Sequence[str], ranks: int) -> Subject:
    """A run, to be called where all is weightless."""
    return subject_of(run_yaml(folders, method, "t2v"), [*LARGER, *overrides], index, on_card=False, ranks=ranks)


def test_half_of_the_tokens_are_half_of_the_activations(folders: Path, index: PluginIndex) -> None:
    kept = {}
    with weightless():
        for name, overrides, ranks in (("alone", LONG, 1), ("shared", (*SHARED, *LONG), 2)):
            each = subject(folders, index, "finetune", overrides, ranks)
            (step, *_) = [played for played in play(each, print).played if played.share]
            (forward,) = [phase for phase in step.phases if phase.name == "loss: forward"]
            kept[name] = forward.after - forward.before
    assert 0.5 * kept["alone"] <= kept["shared"] < 0.65 * kept["alone"]


def wait_for_gloo() -> None:
    """In this process, each collective returns once gloo's own thread has let go of its tensors.

    It says that it is through before it does, and where processors are busy it may come to it after this one has made what follows, which
    would be counted on top: so it was with 29 of 8,000 exchanges under load, and with none that waits.
    """

    def waiting(collective: Callable[..., object]) -> Callable[..., None]:
        def called(*given: Any, **named: Any) -> None:
            """The same, and the wait."""
            tensors = [each for each in given if isinstance(each, torch.Tensor)]
            users = [each._use_count() for each in tensors]
            collective(*given, **named)
            while any(each._use_count() > count for each, count in zip(tensors, users, strict=True)):
                time.sleep(0)

        return called

    for name in ("all_to_all_single", "all_gather_into_tensor", "reduce_scatter_tensor", "all_reduce"):
        setattr(dist, name, waiting(getattr(dist, name)))


SETTINGS = [("finetune", (BF16, FULL)), ("dmd2", (ONE_KIND,))]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "overrides"), SETTINGS)
def test_what_a_process_is_planned_to_take_is_what_it_takes(
    folders: Path, index: PluginIndex, tmp_path: Path, method: str, overrides: tuple[str, ...]
) -> None:
    with weightless():
        each = subject(folders, index, method, (*SHARED, *overrides), 2)
        planned = [phase for played in play(each, print).played if played.share for phase in played.phases]

    def work(rank: int) -> None:
        """A step of one of the two."""
        torch.set_num_threads(1)
        wait_for_gloo()
        with (
            Stopping() as stopping,
            joined(Place.of(os.environ), os.environ, stopping, each.layout, timeout=120, gpu=False) as ranks,
        ):
            ledger = Ledger()
            with ledger:
                stage = Stage(each, MadeUpRows(each, 2), ledger, hollow=False, ranks=ranks)
                found: list[Phase] = [*stage.step(1)]
            stage.close()
        if rank == 0:
            (tmp_path / "found.json").write_text(json.dumps({phase.name: phase.peak for phase in found}))

    for ended in launched(2, work, tmp_path).ended():
        assert ended.status == 0, ended.err
    found = json.loads((tmp_path / "found.json").read_text())
    told = {phase.name: phase.peak for phase in planned if phase.name in found}
    assert len(told) == len(found) > 3
    assert told == pytest.approx(found, rel=1e-3)
