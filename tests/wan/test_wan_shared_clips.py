"""Processes that share the tokens of a clip train as one process does: Wan, by real processes and gloo. Most of it takes minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.ranked import launched
from tests.core.test_training import comparable, metrics
from torch import Tensor

from distill_core.checkpoint.tensors import read_tensors
from distill_core.cli import main
from distill_core.config.document import write_yaml
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord, with_columns
from distill_core.plugins.discovery import discover
from distill_core.running.run_directory import RunDirectory
from distill_model_wan.folder import inspect
from distill_model_wan.testing import TEXT_WIDTH, Variant, make_tiny_pipeline

STEPS = 3
ROLES = {"finetune": ("student",), "dmd2": ("student", "teacher", "critic")}
LORA = {"rank": 2, "init": "gaussian"}


@dataclass(frozen=True)
class Spread:
    """How many processes, and how they share weights and clips."""

    size: int
    shard: int = 1
    context: int = 1


ONE = Spread(1)
TWO = Spread(2, context=2)
TWO_IN_PARTS = Spread(2, shard=2, context=2)
FOUR = Spread(4, shard=2, context=2)
FOUR_IN_PARTS = Spread(4, shard=4, context=2)


@dataclass(frozen=True)
class Trained:
    """What came of a run: the figures of each step, the tensors of its last checkpoint, and its clips."""

    figures: list[dict[str, Any]]
    tensors: Mapping[str, Tensor]
    samples: Mapping[str, bytes]


class World:
    """Pipelines and data below a folder."""

    def __init__(self, root: Path, variant: Variant = "t2v") -> None:
        self.root = root
        for seed, role in enumerate(ROLES["dmd2"]):
            make_tiny_pipeline(root / role, variant, seed=seed, text_length=32)
        facts = inspect(str(root / "student"))
        sizes: dict[str | int, int] = {"C": facts.latent_space.channels, "T": 3, "N": 3, "H": 4, "W": 4}
        generator = torch.Generator().manual_seed(5)

        def drawn(*shape: str | int) -> Tensor:
            return torch.randn([sizes.get(size, size) for size in shape], generator=generator)

        with ParquetWriter(root / "data", with_columns(T2V_SCHEMA, facts.columns)) as writer:
            for number in range(8):
                text_LD, latent_CTHW = drawn(3 + number, TEXT_WIDTH), drawn("C", "T", "H", "W")
                named = (f"{number}", f"a cat {number}", text_LD, latent_CTHW, f"{number}.mp4")
                of_pictures = {column.name: drawn(*column.dimensions) for column in facts.columns}
                writer.add(ClipRecord(*named, 32, 32, 9, 16.0, tensors=of_pictures))

    def mapping(self, method: str, spread: Spread, name: str, *, lora: bool, parts: int) -> dict[str, Any]:
        """A run of three steps."""
        roles: dict[str, dict[str, Any]] = {
            role: {"path": str(self.root / role), "trainable": role != "teacher"} for role in ROLES[method]
        }
        if lora:
            for role in roles.values():
                role |= {"path": str(self.root / "student")} | ({"lora": LORA} if role["trainable"] else {})
        roles["student"]["ema"] = {"decay": 0.5}
        return {
            "recipe": {"family": "wan", "method": method},
            "roles": roles,
            "data": {"path": str(self.root / "data"), "num_workers": 0},
            "training": {
                "max_train_steps": STEPS,
                "train_batch_size": 2,
                "gradient_accumulation_steps": parts,
                "learning_rate": 1e-3,
                "device": "cpu",
            },
            "method_config": {"generator_update_interval": 2} if method == "dmd2" else {},
            "tracking": {"log_interval": 1},
            "validation": {"interval": None},
            "distributed": {"shard": spread.shard, "context": spread.context, "timeout": 60.0},
            "output_dir": str(self.root / name),
        }

    def trained(
        self,
        method: str,
        spread: Spread,
        *more: str,
        lora: bool = False,
        parts: int = 1,
        changes: Mapping[str, Any] | None = None,
        name: str = "",
        steps: int = STEPS,
    ) -> Trained:
        """The run by so many processes, all of which end well."""
        name = name or f"{method}-{spread.size}-{spread.shard}-{spread.context}-{lora}-{parts}"
        mapping = self.mapping(method, spread, name, lora=lora, parts=parts) | dict(changes or {})
        path = self.root / f"{name}.yaml"
        path.write_text(write_yaml(mapping), encoding="utf-8")
        for rank, ended in enumerate(
            launched(spread.size, lambda _: main(["run", str(path), *more]), self.root).ended()
        ):
            assert ended.status == 0, f"rank {rank} of {spread.size}: {ended.err}"
        directory = RunDirectory(self.root / name)
        tensors = read_tensors(directory.checkpoints / f"step-{steps:08}" / "dcp")
        files = {
            str(file.relative_to(directory.samples)): file.read_bytes() for file in directory.samples.rglob("*.mp4")
        }
        return Trained(comparable(metrics(directory)), tensors, files)


def assert_alike(one: Trained, several: Trained) -> None:
    """To what reductions in float32 leave apart."""
    assert len(one.figures) == len(several.figures) >= STEPS
    for theirs, here in zip(one.figures, several.figures, strict=True):
        assert here == pytest.approx(theirs, rel=1e-4)
    assert one.tensors.keys() == several.tensors.keys()
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(several.tensors[name], tensor, rtol=1e-3, atol=2e-5, msg=name)
    assert one.samples.keys() == several.samples.keys()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Wan 2.1 T2V."""
    discover()  # what each process would import anew
    return World(tmp_path_factory.mktemp("shared"))


@pytest.mark.slow
def test_two_processes_that_share_clips_finetune_as_one_does(world: World) -> None:
    assert_alike(world.trained("finetune", ONE), world.trained("finetune", TWO_IN_PARTS))


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("method", ["finetune", "dmd2"])
def test_every_layout_trains_alike(world: World, method: str, lora: bool, parts: int) -> None:
    one = world.trained(method, ONE, lora=lora, parts=parts)
    for spread in (TWO, TWO_IN_PARTS, FOUR, FOUR_IN_PARTS):
        assert_alike(one, world.trained(method, spread, lora=lora, parts=parts))


@pytest.mark.slow
def test_clips_are_sampled_by_groups_and_are_those_of_one_process(world: World) -> None:
    validation = {"interval": STEPS, "max_prompts": 3, "sampling_steps": 2}
    one, four = (
        world.trained("finetune", spread, parts=2, changes={"validation": validation}) for spread in (ONE, FOUR)
    )
    assert len(one.samples) == 3
    assert_alike(one, four)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [TWO, TWO_IN_PARTS], ids=["whole", "in parts"])
def test_a_head_on_features_is_trained_alike(world: World, spread: Spread) -> None:
    options = {"generator_update_interval": 2, "gan_weight": 0.1}
    one, several = (
        world.trained("dmd2", each, lora=True, parts=4, changes={"method_config": options}) for each in (ONE, spread)
    )
    assert any("discriminator" in name for name in one.tensors)
    assert_alike(one, several)


@pytest.mark.slow
def test_two_experts_in_parts_share_clips(tmp_path: Path) -> None:
    world = World(tmp_path / "a14b", "a14b")
    one = world.trained("finetune", ONE)
    for spread in (TWO_IN_PARTS, FOUR_IN_PARTS):
        assert_alike(one, world.trained("finetune", spread))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["i2v", "flf2v"])
def test_clips_that_begin_and_end_with_pictures_are_shared(tmp_path: Path, variant: Variant) -> None:
    world = World(tmp_path / variant, variant)
    one = world.trained("finetune", ONE)
    for spread in (TWO, FOUR_IN_PARTS):
        assert_alike(one, world.trained("finetune", spread))


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(FOUR, ONE), (ONE, TWO_IN_PARTS), (TWO, FOUR_IN_PARTS)])
def test_a_run_goes_on_from_the_checkpoint_of_any_other_spread(tmp_path: Path, before: Spread, after: Spread) -> None:
    world = World(tmp_path / "world")
    whole = world.trained("dmd2", ONE)
    world.trained("dmd2", before, "training.max_train_steps=2", name="moved", steps=2)
    assert_alike(whole, world.trained("dmd2", after, name="moved"))
