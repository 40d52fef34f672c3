"""What a prepared run becomes when it is built: weights, averages, and what happens before the first step. On the toy world."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tests.core.conftest import INDEX, ToyWorld, methods

from distill_core.config.document import write_yaml
from distill_core.config.resolve import examine, open_run
from distill_core.durable import read_signed, signed
from distill_core.errors import ConfigError, RunDirectoryError
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.specs import MethodSpec, Options, RoleNeed
from distill_core.protocols import Batch, Draw, Role, StagedLoss, ValidationRequest
from distill_core.running.build import Runtime, build
from distill_core.running.preparation import prepare, prepare_found
from distill_core.running.roles import RoleBuilder, build_models
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.stopping import Stopping
from distill_core.testing.toy_spec import TOY, write_toy_model
from distill_core.tracking.events import Events
from distill_core.tracking.progress import Progress


@pytest.fixture
def world(tmp_path: Path) -> ToyWorld:
    """A toy world."""
    return ToyWorld(tmp_path)


def built(world: ToyWorld, mapping: Mapping[str, Any]) -> Runtime:
    """The runtime of a run that is not trained."""
    directory = RunDirectory(world.root / "run")
    directory.root.mkdir()
    return build(
        prepare(world.resolved(mapping)), directory, [], Events(None), Progress(Console(quiet=True)), Stopping()
    )


def test_an_average_gets_the_decay_and_the_start_of_the_run_yaml(world: ToyWorld) -> None:
    mapping = world.mapping("finetune")
    mapping["roles"]["student"]["ema"] = {"decay": 0.75, "start_step": 7}
    runtime = built(world, mapping)
    average = runtime.roles["student"].average
    runtime.trackers.finish()
    assert average is not None
    assert (average.decay, average.start_step) == (0.75, 7)


@pytest.mark.parametrize(
    ("precision", "weights", "student", "teacher"),
    [
        ("bf16", "auto", torch.float32, torch.bfloat16),
        ("bf16", "fp32", torch.float32, torch.float32),
        ("fp32", "auto", torch.float32, torch.float32),
    ],
)
def test_weights_are_held_in_what_the_role_says(
    world: ToyWorld, precision: str, weights: str, student: torch.dtype, teacher: torch.dtype
) -> None:
    mapping = world.mapping("dmd2", training={"precision": precision})
    for name in ("student", "teacher"):
        mapping["roles"][name]["weights"] = weights
    prepared = prepare(world.resolved(mapping))
    models = build_models(prepared.run, prepared.placement)
    roles = RoleBuilder(prepared.run, models, prepared.placement, prepared.latent_shape, print).build()
    found = {name: {p.dtype for p in role.container.parameters()} for name, role in roles.items()}
    assert found == {"student": {student}, "teacher": {teacher}, "critic": {torch.float32}}


@pytest.mark.parametrize("at_start", [False, True])
def test_a_run_is_sampled_before_its_first_step_if_it_says_so_and_not_again_on_resume(
    world: ToyWorld, at_start: bool
) -> None:
    validation = {"interval": 12, "at_start": at_start}
    directory = world.train(world.mapping("finetune", validation=validation))
    assert (directory.samples / "step-00000000").exists() == at_start
    shutil.rmtree(directory.samples)
    world.train(world.mapping("finetune", validation=validation, training={"max_train_steps": 24}))
    assert [folder.name for folder in directory.samples.iterdir()] == ["step-00000024"]


class Streamed:
    """A method that draws from the global stream, as a plugin's dropout would."""

    def __init__(self, roles: Mapping[str, Role], options: Options) -> None:
        self.student = roles["student"]

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        assert batch.latents is not None
        t_B = torch.full((batch.size,), 500.0, dtype=torch.float64)
        prediction = self.student.predict_velocity(batch.latents, t_B, batch.condition_of(self.student))
        yield StagedLoss("student", "loss", (prediction * torch.rand(prediction.shape)).pow(2).mean())

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        return ("student",)

    def validation(self, step: int) -> ValidationRequest | None:
        return None


STREAMED = MethodSpec(
    "streamed",
    "draws from the global stream",
    Options,
    "tests.commands.test_before_training:Streamed",
    {"student": RoleNeed(trainable=True, operations=frozenset({"predict"}))},
)


def test_draws_from_the_global_stream_do_not_depend_on_where_a_run_was_stopped(tmp_path: Path) -> None:
    index = PluginIndex.of(models=[TOY], methods=[STREAMED])
    losses: list[list[tuple[int, float]]] = []
    for name, stops in (("whole", [12]), ("cut", [4, 12])):
        world = ToyWorld(tmp_path / name)
        path, directory = world.root / "run.yaml", RunDirectory(world.root / "run")
        path.write_text(write_yaml({**world.mapping("finetune"), "recipe": {"family": "toy", "method": "streamed"}}))
        for stop in stops:
            torch.manual_seed(stop + len(name))
            run = open_run(path, [f"training.max_train_steps={stop}"], index)
            train(prepare(run), directory, [], Console(quiet=True))
        lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
        losses.append([(line["step"], line["loss"]) for line in lines])
    assert losses[0] == losses[1]


def telling(every: int) -> PluginIndex:
    """The world's plugins, with a DMD2 whose spec tells its cadence."""
    told = [
        replace(spec, roles_to_step=lambda _, step: ("student", "critic") if step % every == 0 else ("critic",))
        for spec in methods()
        if spec.name == "dmd2"
    ]
    return PluginIndex.of(models=[TOY], methods=told)


@pytest.mark.parametrize("by", ["prepare", "prepare_found"])
def test_a_role_that_would_never_step_is_refused_before_anything_is_made_where_the_spec_tells(
    world: ToyWorld, by: str
) -> None:
    path = world.root / "run.yaml"
    path.write_text(write_yaml(world.mapping("dmd2")))
    words = "role 'student' would not be trained in 12 steps; set this to at least 13"
    with pytest.raises(ConfigError, match=words) as caught:
        prepare(open_run(path, [], telling(13))) if by == "prepare" else prepare_found(examine(path, [], telling(13)))
    assert [problem.line is None for problem in caught.value.problems] == [False]
    assert not (world.root / "run").exists()
    assert prepare_found(examine(path, [], telling(12))).run.config.roles


def test_every_idle_role_is_named_where_only_the_method_can_tell(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_method_dmd2.method.Dmd2.roles_to_step", lambda self, step: ())
    with pytest.raises(ConfigError) as caught:
        built(world, world.mapping("dmd2"))
    named = [problem.message.split(" would")[0] for problem in caught.value.problems]
    assert named == ["role 'student'", "role 'critic'"]


def test_prepare_and_prepare_found_agree_on_a_run_that_is_right(world: ToyWorld) -> None:
    run = world.resolved(world.mapping("dmd2"))
    found, prepared = prepare_found(examine(world.root / "run.yaml", [], INDEX)), prepare(run)
    assert found.run == prepared.run
    assert (run.config.training.precision, prepared.run.config.training.precision) == ("auto", "fp32")
    assert (found.placement, found.latent_shape) == (prepared.placement, prepared.latent_shape)


def test_roles_of_another_space_do_not_make_the_data_at_fault(world: ToyWorld) -> None:
    write_toy_model(world.root / "teacher", channels=3)
    path = world.root / "run.yaml"
    path.write_text(write_yaml(world.mapping("dmd2", method_config={"rollout": "data_latent"})))
    with pytest.raises(ConfigError) as caught:
        prepare_found(examine(path, [], INDEX))
    assert [problem.key for problem in caught.value.problems] == ["roles.teacher.path"]


@pytest.mark.parametrize(("key", "other"), [("device", "cuda"), ("precision", "bf16")])
def test_a_run_that_leaves_it_to_the_machine_goes_on_on_another_and_one_that_says_it_does_not(
    world: ToyWorld, key: str, other: str
) -> None:
    mapping = world.mapping("finetune")
    del mapping["training"]["device"]
    path, directory = world.root / "run.yaml", RunDirectory(world.root / "run")
    path.write_text(write_yaml(mapping))
    train(prepare_found(examine(path, ["training.device=cpu"], INDEX)), directory, [], Console(quiet=True))
    chosen = read_signed(directory.resolved_yaml)
    assert "\n  device: cpu\n" in chosen
    assert "\n  precision: fp32\n" in chosen
    directory.resolved_yaml.write_text(signed(re.sub(rf"\n  {key}: \w+\n", f"\n  {key}: {other}\n", chosen)))
    assert prepare_found(examine(path, [f"training.{key}=auto"], INDEX)).run.config.training.device == "cpu"
    said = {"device": "cpu", "precision": "fp32"}[key]
    with pytest.raises(RunDirectoryError, match=f"training.{key}: '{other}' there, '{said}' here"):
        prepare_found(examine(path, [f"training.{key}={said}"], INDEX))
