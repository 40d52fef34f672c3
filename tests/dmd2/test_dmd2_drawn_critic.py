"""IDA: a critic that is drawn to the student's weights after the student's updates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_dmd2_method import spec
from tests.core.conftest import ToyWorld

from distill_core.checkpoint import Checkpoint
from distill_core.errors import ConfigError
from distill_core.plugins import MethodSpec, RoleNeed
from distill_core.plugins.registry import Registry
from distill_core.running.roles import refuse_unlike
from distill_core.testing.contracts import check_method, toy_roles
from distill_method_dmd2.config import Dmd2Options
from distill_method_dmd2.method import Dmd2
from distill_method_dmd2.plugin import demands

DRAWN = Dmd2Options(generator_update_interval=2, critic_keeps=0.9)


def test_the_method_keeps_its_contract_with_it() -> None:
    check_method(spec(), DRAWN, steps=2)


def test_what_is_kept_by_hand() -> None:
    roles = toy_roles(spec(), DRAWN)
    before = {name: tensor.clone() for name, tensor in roles["critic"].container.state_dict().items()}
    student = roles["student"].container.state_dict()
    assert Dmd2(roles, DRAWN).keeps(2) == {"critic": 0.9}
    roles["critic"].follow(roles["student"], 0.9)
    for name, tensor in roles["critic"].container.state_dict().items():
        torch.testing.assert_close(tensor, 0.9 * before[name] + 0.1 * student[name])


def test_a_critic_that_keeps_all_is_drawn_to_nobody() -> None:
    needs = demands(Dmd2Options()).roles
    assert needs is not None
    assert needs["critic"].drawn_to is None
    assert Dmd2(toy_roles(spec(), Dmd2Options()), Dmd2Options()).keeps(5) == {}


def critic_after(world: ToyWorld, share: float) -> dict[str, torch.Tensor]:
    """All weights of a run in which no optimizer moves a weight, after two updates of the student."""
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "max_train_steps": 12}
    mapping = world.mapping(
        "dmd2", method_config={"generator_update_interval": 6, "critic_keeps": share}, training=still
    )
    mapping["output_dir"] = str(world.root / f"run-{share}")
    checkpoint = Checkpoint(world.train(mapping).checkpoints / "step-00000012", 12)
    tensors = {name: torch.empty(shape) for name, shape in checkpoint.state()["tensors"].items() if "optim" not in name}
    checkpoint.load(tensors)
    return tensors


def test_a_run_draws_it_after_the_students_steps_alone(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    kept, drawn = critic_after(world, 1.0), critic_after(world, 0.5)
    names = [name for name in kept if "critic" in name and "denoiser" in name and name.endswith("weight")]
    assert len(names) >= 2
    for name in names:
        student = kept[name.replace("critic", "student")]
        torch.testing.assert_close(drawn[name], 0.25 * kept[name] + 0.75 * student)


def test_a_critic_of_another_architecture_is_refused() -> None:
    roles = toy_roles(spec(), DRAWN)
    roles["critic"].container["denoiser"].register_module("more", torch.nn.Linear(3, 3))
    with pytest.raises(ConfigError, match=r"roles\.critic: is drawn to the weights of role 'student'"):
        refuse_unlike(roles["critic"], roles["student"])


@pytest.mark.parametrize(
    "need",
    [
        RoleNeed(trainable=False, drawn_to="student"),
        RoleNeed(trainable=True, drawn_to="teacher"),
        RoleNeed(trainable=True, drawn_to="nobody"),
        RoleNeed(trainable=True, module="a:B", drawn_to="student"),
    ],
)
def test_a_need_that_makes_no_sense_is_refused_at_the_plugin(need: RoleNeed) -> None:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    roles = {"student": RoleNeed(trainable=True), "teacher": RoleNeed(trainable=False), "critic": need}
    with pytest.raises(ValueError, match="is drawn to"):
        registry.add(MethodSpec("odd", "one", Dmd2Options, "a:B", roles))
