"""What trains on one process trains alike on two and four: LoRAs, accumulation, heads, followers, bad rows. Most of it takes minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core import conftest, forked
from tests.core.conftest import INDEX, ToyWorld
from tests.core.ranked import launched, trained
from tests.core.test_ranks import LAYOUTS, assert_alike, resumed, run_of

from distill_core.checkpoint.tensors import read_tensors
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.testing.toy import encode_caption
from distill_method_consistency import plugin as consistency

LORA = {"rank": 2, "init": "gaussian"}


def with_loras(run: dict[str, Any]) -> dict[str, Any]:
    """The same run, in which every trained role is a LoRA on the student's weights."""
    first = run["roles"]["student"]["path"]
    for role in run["roles"].values():
        role |= {"path": first} | ({"lora": LORA} if role["trainable"] else {})
    return run


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("method", ["finetune", "dmd2"])
@pytest.mark.parametrize("lora", [False, True])
def test_every_layout_trains_alike_and_loads_what_any_other_saved(
    tmp_path: Path, method: str, parts: int, lora: bool
) -> None:
    worlds = {name: ToyWorld(tmp_path / name) for name in LAYOUTS}

    def run(name: str, shard: int) -> dict[str, Any]:
        run = run_of(worlds[name], method, shard, parts)
        return with_loras(run) if lora else run

    for name, (size, shard) in LAYOUTS.items():
        trained(worlds[name], size, run(name, shard))
    assert_alike(worlds)
    for saved_by, (loading, (size, shard)) in zip(LAYOUTS, [*LAYOUTS.items()][::-1], strict=True):
        result = tmp_path / "state.pt"
        work = resumed(worlds[saved_by], run(saved_by, shard), shard, result)
        for ended in launched(size, work, tmp_path).ended():
            assert ended.status == 0, ended.err
        there = read_tensors(worlds[saved_by].root / "run" / "checkpoints" / "step-00000004" / "dcp")
        here, _, _ = torch.load(result)
        assert here.keys() == there.keys()
        assert all(torch.equal(here[key], there[key]) for key in there), f"{saved_by}, loaded by {loading}"
        assert any("lora" in key for key in there) == lora


@pytest.fixture
def more_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consistency is installed too, here and in forked processes."""
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    consistency.distill_register_methods(registry)
    methods = [*INDEX.methods.values(), *registry.specs]
    index = PluginIndex.of(INDEX.models.values(), methods, INDEX.metrics.values())
    for module in (conftest, forked):
        monkeypatch.setattr(module, "INDEX", index)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two, in parts", "four, two by two"])
@pytest.mark.parametrize(
    ("method", "options", "own"),
    [
        ("dmd2", {"generator_update_interval": 2, "gan_weight": 0.1}, "discriminator"),
        ("consistency", {"target": "average"}, "target"),
    ],
)
def test_heads_and_followers_are_alike_on_several_ranks(
    tmp_path: Path, more_methods: None, name: str, method: str, options: dict[str, Any], own: str
) -> None:
    worlds = {each: ToyWorld(tmp_path / each) for each in ("one", name)}
    for each, world in worlds.items():
        size, shard = LAYOUTS[each]
        run = run_of(world, method, shard, parts=1)
        run["method_config"] = options
        run["roles"]["teacher"] = {"path": str(world.root / "teacher"), "trainable": False}
        trained(world, size, run)
    assert_alike(worlds)
    one, several = (
        read_tensors(world.root / "run" / "checkpoints" / "step-00000004" / "dcp") for world in worlds.values()
    )
    assert one.keys() == several.keys()
    kept = [key for key in one if own in key]
    assert kept
    for key in kept:
        torch.testing.assert_close(several[key], one[key], rtol=1e-3, atol=1e-5)


def test_ranks_pass_over_the_same_bad_rows_as_one_process_and_one_list_is_kept(tmp_path: Path) -> None:
    worlds = {name: ToyWorld(tmp_path / name) for name in ("one", "two, in parts")}
    lists = []
    for name, world in worlds.items():
        size, shard = LAYOUTS[name]
        _break_a_row(world.root / "data", 20)
        run = run_of(world, "finetune", shard, parts=1)
        run["data"]["on_bad_row"] = "skip"
        lines = (trained(world, size, run) / "quarantine.jsonl").read_text().splitlines()
        lists.append([(json.loads(line)["index"], json.loads(line)["reason"]) for line in lines])
    assert_alike(worlds)
    assert len(lists[0]) == 1
    assert lists[0] == lists[1]


def _break_a_row(folder: Path, rows: int) -> None:
    """The data set anew with so many rows, one of which holds NaN: so much is known of it when it is read, and not before."""
    (folder / "data-00000.parquet").unlink()
    generator = torch.Generator().manual_seed(5)
    with ParquetWriter(folder, T2V_SCHEMA) as writer:
        for number in range(rows):
            latent = torch.randn(2, 3, 4, 4, generator=generator)
            latent[0, 0, 0, 0] = torch.nan if number == rows // 2 else 0.0
            text = encode_caption(f"clip {number}")
            writer.add(ClipRecord(f"{number}", f"clip {number}", text, latent, f"{number}.mp4", 16, 16, 9, 16.0))
