"""distill_core.training.frozen: what a method writes into frozen weights ends the run, for a resume would lose it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console
from tests.core.conftest import ToyWorld
from tests.testing.faulty_memory import MovesTheTeacher
from tests.testing.good_methods import Regression, spec_of

from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.errors import MethodError
from distill_core.plugins.index import PluginIndex
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.testing.contracts import toy_roles
from distill_core.testing.toy_spec import TOY
from distill_core.training.frozen import WATCHED, FrozenWatch


def trained(world: ToyWorld, method: type) -> RunDirectory:
    """A run of a student and a frozen teacher, saved after its last step, the second."""
    spec = spec_of(method, Regression)
    mapping = world.mapping("dmd2", training={"max_train_steps": 2}, validation={"interval": None})
    mapping["recipe"]["method"] = spec.name
    del mapping["roles"]["critic"]
    path = world.root / "run.yaml"
    path.write_text(write_yaml(mapping), encoding="utf-8")
    resolved = open_run(path, (), PluginIndex.of(models=[TOY], methods=[spec]))
    directory = RunDirectory(Path(resolved.config.output_dir))
    train(prepare(resolved), directory, [], Console(quiet=True))
    return directory


def test_a_method_that_writes_into_a_frozen_model_is_refused_at_its_first_step(world: ToyWorld) -> None:
    with pytest.raises(MethodError) as refused:
        trained(world, MovesTheTeacher)
    assert "step 1: it changed denoiser.layers." in str(refused.value)
    assert "of role 'teacher', which is frozen and in no checkpoint; what moves is a role with RoleNeed" in str(
        refused.value
    )


def test_a_method_that_leaves_it_alone_trains(world: ToyWorld) -> None:
    assert [path.name for path in trained(world, Regression).checkpoints.iterdir()] == ["step-00000002"]


def test_what_is_trained_may_change_and_what_is_frozen_may_not_even_where_it_is_no_number() -> None:
    roles = toy_roles(spec_of(Regression))
    bias = roles["teacher"].container.state_dict()["denoiser.layers.0.bias"]
    bias[0] = float("nan")
    watch = FrozenWatch(roles)
    with torch.no_grad():
        for parameter in roles["student"].container.parameters():
            parameter.add_(1.0)
    assert watch.changed() is None
    bias[1] += 1.0
    assert watch.changed() == ("teacher", "denoiser.layers.0.bias")


def test_of_a_large_model_the_smallest_tensors_are_watched() -> None:
    roles = toy_roles(spec_of(Regression))
    teacher = roles["teacher"].container
    teacher["large"] = torch.nn.Linear(WATCHED, 2, bias=False)
    watch = FrozenWatch(roles)
    teacher["large"].weight.data.zero_()
    assert watch.changed() is None
    next(iter(teacher["denoiser"].parameters())).data.zero_()
    assert watch.changed() is not None
