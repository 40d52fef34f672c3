"""A Wan role whose weights lie on several ranks in parts: read block by block, so that no rank ever holds it whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file
from tests.core.ranked import launched
from tests.planning.test_plan_measured import allocations, run_yaml
from tests.wan.test_wan_unread import BLOCKS, weights_of, write_larger
from torch.profiler import ProfilerActivity, profile

from distill_core.config.resolve import examine
from distill_core.planning.stage import LOADING
from distill_core.planning.subject import subject_of
from distill_core.planning.trial import play
from distill_core.plugins.discovery import discover
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.weightless import weightless
from distill_core.ranks.joined import joined
from distill_core.ranks.layout import Layout
from distill_core.ranks.place import Place
from distill_core.running.preparation import Placement
from distill_core.running.roles import RoleBuilder, build_models
from distill_core.running.settling import Settling
from distill_core.stopping import Stopping
from distill_core.training.parts import sharded

RANKS = 2
pytestmark = pytest.mark.slow
PLACE = Placement(torch.device("cpu"), torch.float32)


def stored_in_bf16(folder: Path) -> Path:
    """A larger Wan as they are published: of tensors that have to be converted, none is a view of a mapped file."""
    write_larger(folder)
    place = folder / "t2v" / "transformer"
    WanTransformer3DModel.from_pretrained(place).to(torch.bfloat16).save_pretrained(place)
    return folder


def loading(folder: Path, index: PluginIndex, *, in_turn: bool) -> Callable[[int], None]:
    def work(rank: int) -> None:
        """One of the ranks, which loads a role that is trained, and writes down what it took and became."""
        torch.set_num_threads(1)
        run = examine(run_yaml(folder, "finetune", "t2v"), (), index).resolved()
        with (
            Stopping() as stopping,
            joined(Place.of(os.environ), os.environ, stopping, Layout(1, RANKS), timeout=60, gpu=False) as ranks,
        ):
            settling, models = Settling(ranks, PLACE.device), build_models(run, PLACE)
            builder = RoleBuilder(run, models, PLACE, (3, 16, 8, 8), lambda _: None, settle=settling)
            builder.weights.spread = settling.spread if in_turn else None
            with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
                role = builder.build()["student"]
            settling.agree({})
            mapped = weights_of(folder).stat().st_size
            sizes = (
                size for size in allocations(profiled) if abs(size) != mapped
            )  # a file that is mapped is no memory
            tensors = role.state_tensors()
            assert all(sharded(tensor) for tensor in tensors.values())
            assert all(parameter.requires_grad for parameter in role.container.parameters())
            whole = {name: tensor.full_tensor() for name, tensor in tensors.items()}
            if rank == 0:
                torch.save((max(accumulate(sizes)), settling._first, whole), folder / f"{in_turn}.pt")

    return work


def test_no_rank_ever_holds_a_role_whole_that_lies_in_parts(tmp_path: Path) -> None:
    folder, index = stored_in_bf16(tmp_path), discover()
    found = []
    for in_turn in (False, True):
        for ended in launched(RANKS, loading(folder, index, in_turn=in_turn), folder).ended():
            assert ended.status == 0, ended.err
        found.append(torch.load(folder / f"{in_turn}.pt"))
    (most, said, theirs), (peak, told, ours) = found
    assert told == said
    assert theirs.keys() == ours.keys()
    assert all(ours[name].equal(tensor) for name, tensor in theirs.items())
    stored = load_file(weights_of(folder))
    size = 4 * sum(tensor.numel() for tensor in stored.values())
    blocks = 4 * sum(tensor.numel() for name, tensor in stored.items() if name.startswith("blocks."))
    print(json.dumps({"whole": size, "most": most, "peak": peak}))
    assert most > size
    assert peak < size / RANKS + (size - blocks) + 3 * blocks // BLOCKS < size


@pytest.mark.parametrize("lora", [False, True])
def test_a_plan_knows_it(tmp_path: Path, lora: bool) -> None:
    folder, index = stored_in_bf16(tmp_path), discover()
    more = ("roles.student.lora={rank: 2}",) if lora else ()
    with weightless():
        path, batch = run_yaml(folder, "finetune", "t2v"), f"training.train_batch_size={RANKS}"
        subject = subject_of(path, (batch, *more), index, on_card=False, ranks=RANKS)
        before = play(subject, print).played[0].phases
    (phase,) = [each for each in before if each.name == LOADING]
    size = 4 * sum(tensor.numel() for tensor in load_file(weights_of(folder)).values())
    assert size / RANKS < phase.peak < 0.75 * size
