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
from safetensors.torch import load_file, save_file
from tests.core.ranked import launched
from tests.planning.test_plan_measured import allocations, run_yaml
from tests.wan.stored_forms import original
from tests.wan.test_wan_unread import BLOCKS, weights_of, write_larger
from torch.profiler import ProfilerActivity, profile

from distill_core.cli import main
from distill_core.config.resolve import examine
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
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
from distill_model_wan.testing import TEXT_WIDTH

RANKS = 2
pytestmark = pytest.mark.slow
PLACE = Placement(torch.device("cpu"), torch.float32)


def stored_in_bf16(folder: Path) -> Path:
    """A larger Wan as they are published: of tensors that have to be converted, none is a view of a mapped file."""
    write_larger(folder)
    place = folder / "t2v" / "transformer"
    WanTransformer3DModel.from_pretrained(place).to(torch.bfloat16).save_pretrained(place)
    return folder


def loading(folder: Path, index: PluginIndex, more: tuple[str, ...], *, in_turn: bool) -> Callable[[int], None]:
    def work(rank: int) -> None:
        """One of the ranks, which loads a role that is trained, and writes down what it took and became."""
        torch.set_num_threads(1)
        run = examine(run_yaml(folder, "finetune", "t2v"), more, index).resolved()
        with (
            Stopping() as stopping,
            joined(Place.of(os.environ), os.environ, stopping, Layout(1, RANKS), timeout=60, gpu=False) as ranks,
        ):
            settling, models = Settling(ranks, PLACE.device), build_models(run, PLACE)
            builder = RoleBuilder(run, models, PLACE, (3, 16, 8, 8), lambda _: None, settle=settling)
            builder.weights.spread = settling.spread if in_turn else None
            with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
                role = builder.build()["student"]
            settling.agree()
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


def from_elsewhere(folder: Path, source: str) -> tuple[str, ...]:
    """What a run says whose role comes from there: the folder; a single file by the names of Wan's release; another run's average."""
    if source == "a folder":
        return ()
    if source == "a checkpoint":
        return (f"roles.student.checkpoint={{run: {trained_before(folder)}}}",)
    tensors = load_file(weights_of(folder))
    place = folder / "single"
    place.mkdir()
    save_file(original(tensors), place / "wan.safetensors")
    (place / "parts.json").write_text(json.dumps({"base": str(folder / "t2v"), "transformer": "wan.safetensors"}))
    return (f"roles.student.path={place}",)


def trained_before(folder: Path) -> Path:
    """A run of two steps, which keeps an average."""
    data = folder / "data"
    generator = torch.Generator().manual_seed(5)
    with ParquetWriter(data, T2V_SCHEMA) as writer:
        for number in range(2):
            text_LD = torch.randn(3, TEXT_WIDTH, generator=generator)
            latent_CTHW = torch.randn(16, 3, 8, 8, generator=generator)
            writer.add(ClipRecord(f"{number}", "a cat", text_LD, latent_CTHW, f"{number}.mp4", 64, 64, 9, 16.0))
    said = (
        "training.max_train_steps=2",
        "roles.student.ema={decay: 0.5}",
        "validation.interval=null",
        "data.num_workers=0",
    )
    order = [
        "run",
        str(run_yaml(folder, "finetune", "t2v")),
        *said,
        f"data.path={data}",
        f"output_dir={folder / 'before'}",
    ]
    with pytest.raises(SystemExit) as stop:
        main(order)
    assert not stop.value.code
    return folder / "before"


@pytest.mark.parametrize("source", ["a folder", "a single file", "a checkpoint"])
def test_no_rank_ever_holds_a_role_whole_that_lies_in_parts(tmp_path: Path, source: str) -> None:
    folder, index = stored_in_bf16(tmp_path), discover()
    more, found = from_elsewhere(folder, source), []
    for in_turn in (False, True):
        for ended in launched(RANKS, loading(folder, index, more, in_turn=in_turn), folder).ended():
            assert ended.status == 0, ended.err
        found.append(torch.load(folder / f"{in_turn}.pt"))
    (most, said, theirs), (peak, told, ours) = found
    assert told == said
    assert theirs.keys() == ours.keys()
    assert all(ours[name].equal(tensor) for name, tensor in theirs.items())
    stored = load_file(weights_of(folder))
    size = 4 * sum(tensor.numel() for tensor in stored.values())
    blocks = 4 * sum(tensor.numel() for name, tensor in stored.items() if name.startswith("blocks."))
    print(json.dumps({"source": source, "whole": size, "most": most, "peak": peak}))
    assert ours["transformer.proj_out.weight"].equal(stored["proj_out.weight"].float()) is (source != "a checkpoint")
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
