"""Roles that are no folder, whom a loss trains, and methods that break their contract: each refused by name at the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tests.core.conftest import ToyWorld, methods
from tests.core.small_methods import KEEPS, SMALL, faulty
from torch import Tensor

from distill_core.checkpoint import Checkpoint
from distill_core.cli.export import export
from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.errors import CheckpointError, ConfigError, DistillError, MethodError
from distill_core.plugins import discovery
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.specs import MethodSpec
from distill_core.running.preparation import prepare
from distill_core.running.roles import RoleBuilder, build_models
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.testing.toy_spec import TOY
from distill_core.training.trainer import DistillTrainer

Run = Callable[..., RunDirectory]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run("name", "override", …, spec=…, head={…})``: train the small method in a world of that name."""
    worlds: dict[str, ToyWorld] = {}

    def go(name: str, *overrides: str, spec: MethodSpec = SMALL, **roles: dict[str, Any]) -> RunDirectory:
        world = worlds[name] if name in worlds else worlds.setdefault(name, ToyWorld(tmp_path / name))
        mapping = world.mapping("finetune", validation={"interval": None})
        mapping |= {"recipe": {"family": "toy", "method": "small"}, "roles": mapping["roles"] | roles}
        path = world.root / "run.yaml"
        path.write_text(write_yaml(mapping), encoding="utf-8")
        resolved = open_run(path, overrides, PluginIndex.of(models=[TOY], methods=[spec]))
        directory = RunDirectory(Path(resolved.config.output_dir))
        train(prepare(resolved), directory, [], Console(quiet=True))
        return directory

    return go


def saved(directory: RunDirectory, step: int) -> dict[str, Tensor]:
    """All tensors of a checkpoint, by name."""
    checkpoint = Checkpoint(directory.checkpoints / f"step-{step:08d}", step)
    tensors = {name: torch.empty(shape) for name, shape in checkpoint.state()["tensors"].items()}
    checkpoint.load(tensors)
    return tensors


def of_role(tensors: dict[str, Tensor], role: str) -> dict[str, Tensor]:
    prefix = f"roles.{role}.modules."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def test_a_run_that_is_stopped_goes_on_bitwise_with_followers_modules_and_their_statistics(run: Run) -> None:
    whole = saved(run("whole"), 12)
    run("cut", "training.max_train_steps=5")
    again = saved(run("cut"), 12)
    assert of_role(whole, "target")
    assert "module.mean" in of_role(whole, "head")
    assert of_role(whole, "head")["module.mean"] != 0
    assert whole.keys() == again.keys()
    assert all(tensor.equal(again[name]) for name, tensor in whole.items())


def test_a_follower_starts_as_its_leader_and_moves_after_its_steps(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    original = DistillTrainer.train_step

    def watched(trainer: DistillTrainer, step: int) -> None:
        original(trainer, step)
        roles = trainer.state.roles
        seen.append(tuple(next(roles[name].container.parameters()).detach().clone() for name in ("student", "target")))

    monkeypatch.setattr(DistillTrainer, "train_step", watched)
    run("run", "method_config.every=2", "training.max_train_steps=4")
    (first, held), (second, moved), (_, unmoved), _ = seen
    assert held.equal(first), "before the leader's first step they are the same"
    torch.testing.assert_close(moved, torch.lerp(held, second, 1.0 - KEEPS))
    assert unmoved.equal(moved), "the leader did not step"


def test_a_followers_weights_are_float32_where_frozen_ones_are_not(run: Run) -> None:
    tensors = of_role(saved(run("run", "training.precision=bf16", "training.max_train_steps=4"), 4), "target")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_the_first_weights_of_a_module_follow_from_the_seed(run: Run) -> None:
    def weight(name: str, seed: int) -> Tensor:
        overrides = (f"training.seed={seed}", "training.max_train_steps=1", "training.learning_rate=1e-30")
        return of_role(saved(run(name, *overrides), 1), "head")["module.weight.weight"]

    assert weight("a", 3).equal(weight("b", 3))
    assert not weight("a2", 3).equal(weight("c", 4))


def test_a_module_has_the_learning_rate_that_the_run_gives_it(run: Run) -> None:
    short = "training.max_train_steps=2"
    still = of_role(saved(run("still", short, head={"learning_rate": 1e-30}), 2), "head")["module.weight.weight"]
    moved = of_role(saved(run("moved", short), 2), "head")["module.weight.weight"]
    assert not still.equal(moved)


def test_a_loss_trains_whom_it_names_and_a_leak_changes_nobody(run: Run) -> None:
    tight, leaky = (saved(run(f"leak-{leak}", f"method_config.leak={leak}"), 12) for leak in ("false", "true"))
    assert all(tensor.equal(leaky[name]) for name, tensor in tight.items())


@pytest.mark.parametrize(
    ("roles", "key", "words"),
    [
        ({"target": {"trainable": False, "path": "x"}}, "roles.target.path", "follows role 'student' and has no path"),
        ({"head": {"weights": "bf16"}}, "roles.head.weights", "is a module of the method's own and has no weights"),
        ({"head": {"trainable": False}}, "roles.head.trainable", "trains this role"),
        ({"target": {}}, "roles.target.trainable", "keeps this role frozen"),
        ({"student": {}}, "roles.student.path", "this role is a model: give it `path`"),
    ],
)
def test_keys_that_a_role_of_its_kind_cannot_have_are_refused(
    run: Run, roles: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run("run", **roles)
    assert any(problem.key == key and words in problem.message for problem in caught.value.problems)


def test_a_role_that_the_options_rule_out_is_no_role(run: Run) -> None:
    directory = run("run", "method_config.head=false", "training.max_train_steps=2")
    assert not of_role(saved(directory, 2), "head")
    with pytest.raises(ConfigError, match="has this role under other method_config alone"):
        run("other", "method_config.head=false", head={})


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("yields nothing", "it yields no loss"),
        ("misspells a role", "'regression' trains 'studnet', which is no role; the trained roles are student, head"),
        ("trains a frozen role", "'regression' trains 'target', which is frozen"),
        ("leaves one out", "it steps student, and no loss of this step trains it"),
        ("has no graph", "'regression' has no graph"),
        ("is no scalar", r"'regression' is no scalar: its shape is \[2\]"),
        ("raises", "raised KeyError: 'student'"),
        ("asks the undeclared", "it asks blocks of role 'target', which its spec does not declare"),
        (
            "gives its head latents",
            r"module of role 'head' does not take what the method gives it \(\[2, 3, 2, 4, 4\]\): RuntimeError",
        ),
        ("wants an average", "role 'student', which keeps no average; set roles.student.ema"),
        ("steps a string", r"roles_to_step gives 'student', not a tuple of names; a single one is \('student',\)"),
        ("keeps too much", "keeps gives 'target' a share of 1.5"),
        ("samples by no sampler", r"its validation cannot be sampled: ValidationRequest\.sampler cannot be 'euler'"),
    ],
)
def test_a_method_that_breaks_its_contract_is_refused_by_name(run: Run, fault: str, words: str) -> None:
    with pytest.raises(MethodError, match=rf"method 'small'.*{words}"):
        run("run", spec=faulty(fault))


def test_a_method_that_cannot_be_made_is_a_fault_of_the_run_yaml_that_names_it(run: Run) -> None:
    with pytest.raises(ConfigError) as caught:
        run("run", spec=faulty("cannot be made"))
    (problem,) = caught.value.problems
    assert problem.key == "recipe.method"
    assert problem.message.startswith("method 'small': making FaultyCannotBeMade raised KeyError: 'critic'; DISTILL_")


def test_a_role_starts_from_a_checkpoint_of_another_run(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    first = world.train(world.mapping("finetune", training={"max_train_steps": 4}))
    trained = of_role(saved(first, 4), "student")
    second = world.mapping("dmd2", training={"precision": "bf16"})
    second |= {"output_dir": str(tmp_path / "second"), "validation": {"interval": None}}
    second["roles"]["teacher"]["checkpoint"] = {"run": str(first.root)}
    resolved = world.resolved(second)
    prepared = prepare(resolved)
    told: list[str] = []
    models = build_models(prepared.run, prepared.placement)
    roles = RoleBuilder(prepared.run, models, prepared.placement, prepared.latent_shape, told.append).build()
    teacher = roles["teacher"]
    assert not any(parameter.requires_grad for parameter in teacher.container.parameters())
    for name, tensor in teacher.container.state_dict().items():
        assert tensor.dtype == torch.bfloat16
        assert tensor.equal(trained[name].to(torch.bfloat16))
    assert any("starts from role 'student'" in line for line in told)
    assert not any("has no place" in line for line in told)


def test_weights_that_a_role_has_no_place_for_are_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = ToyWorld(tmp_path)
    first = world.train(world.mapping("finetune", training={"max_train_steps": 1}))
    second = world.mapping("dmd2") | {"output_dir": str(tmp_path / "second"), "validation": {"interval": None}}
    second["roles"]["student"]["checkpoint"] = {"run": str(first.root)}
    prepared, told, state = prepare(world.resolved(second)), list[str](), Checkpoint.state

    def wider(self: Checkpoint) -> dict[str, Any]:
        """As if it had been trained with a second time."""
        held: dict[str, Any] = state(self)
        return held | {"tensors": held["tensors"] | {"roles.student.modules.denoiser.second.weight": [4, 4]}}

    monkeypatch.setattr(Checkpoint, "state", wider)
    models = build_models(prepared.run, prepared.placement)
    RoleBuilder(prepared.run, models, prepared.placement, prepared.latent_shape, told.append).build()
    assert (
        sum("role 'student' has no place for 1 of its weights (denoiser.second.weight)" in line for line in told) == 1
    )


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"run": "nowhere"}, "nowhere does not exist; name the output_dir of a run that was trained"),
        ({"run": "student"}, "student is no run directory: it has no resolved.yaml; name the output_dir of a run"),
        ({"run": "run/checkpoints/step-00000004"}, "is no run directory, but a part of one: name .*run, and of its ch"),
        ({"run": "run", "role": "critic"}, "holds no role 'critic'; name as `role` one of student"),
        ({"run": "run", "step": 3}, "has no checkpoint of step 3; it has 4"),
    ],
)
def test_a_first_stage_that_is_not_there_is_refused_before_weights_load(
    tmp_path: Path, stage: dict[str, Any], words: str
) -> None:
    world = ToyWorld(tmp_path)
    world.train(world.mapping("finetune", training={"max_train_steps": 4}))
    second = world.mapping("dmd2") | {"output_dir": str(tmp_path / "second")}
    second["roles"]["teacher"]["checkpoint"] = stage | {"run": str(tmp_path / stage["run"])}
    with pytest.raises(DistillError, match=words):
        prepare(world.resolved(second))


def test_what_a_method_does_not_say_how_to_sample_is_no_pipeline_of_some_steps(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.core.small_methods.Small.validation", lambda method, step: None)
    directory = run("run", "training.max_train_steps=2")
    monkeypatch.setattr(discovery, "discover", lambda: PluginIndex.of(models=[TOY], methods=[SMALL]))
    with pytest.raises(CheckpointError, match=r"does not say how its result is sampled.*--timesteps"):
        export(directory.root, directory.root.parent / "out")
    export(directory.root, directory.root.parent / "out", timesteps="1000")
    assert (directory.root.parent / "out" / "toy.json").is_file()


def test_families_with_text_of_their_own_meet_in_one_latent_space(tmp_path: Path) -> None:
    """The data are encoded for the first role's family; the other encodes the rows' captions itself, to what the first would have."""
    alone, mixed = ToyWorld(tmp_path / "alone"), ToyWorld(tmp_path / "mixed")
    whole = alone.train(alone.mapping("dmd2"))
    mapping = mixed.mapping("dmd2")
    mapping["roles"]["teacher"]["family"] = "film"
    path = mixed.root / "run.yaml"
    path.write_text(write_yaml(mapping), encoding="utf-8")
    index = PluginIndex.of(models=[TOY, replace(TOY, name="film")], methods=methods())
    resolved = open_run(path, (), index)
    directory = RunDirectory(Path(resolved.config.output_dir))
    train(prepare(resolved), directory, [], Console(quiet=True))
    ours, theirs = saved(whole, 12), saved(directory, 12)
    assert all(tensor.equal(theirs[name]) for name, tensor in ours.items())
