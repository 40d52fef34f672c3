"""AdamW with moments in 8 bits: refused by name where it is not, and treated as its library wants it. The real one: quantized_cases.py."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from tests.core.conftest import ToyWorld
from torch import nn

from distill_core.config.schema import Optimization
from distill_core.errors import ConfigError
from distill_core.running.continuation import binding, differences
from distill_core.running.preparation import prepare
from distill_core.training import eight_bit
from distill_core.training.guarded_adamw import Flag
from distill_core.training.optimization import RoleOptimizer


class Library(torch.optim.AdamW):
    """What torchao's optimizer demands: its rate is a tensor; its state comes with its first step."""

    def __init__(self, parameters: Any, lr: float, **settings: Any) -> None:
        super().__init__(parameters, lr=torch.tensor(lr), **settings, capturable=False, foreach=False)

    def step(self, closure: Any = None) -> Any:
        """One update."""
        assert all(isinstance(group["lr"], torch.Tensor) for group in self.param_groups)
        return super().step(closure)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the library."""
    module = ModuleType("torchao.optim")
    module.__dict__["AdamW8bit"] = Library
    monkeypatch.setattr(eight_bit, "import_module", lambda name: module)
    monkeypatch.setattr(eight_bit, "find_spec", lambda name: name)


SETTINGS = Optimization(optimizer="adamw8bit", learning_rate=0.1, weight_decay=0.5, lr_warmup_steps=1)


def made() -> tuple[nn.Parameter, RoleOptimizer]:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    return weight, RoleOptimizer({"weight": weight}, SETTINGS, 10)


@pytest.mark.usefixtures("library")
def test_its_state_is_there_before_the_first_update_and_no_weight_has_moved() -> None:
    weight, optimizer = made()
    state = optimizer.adamw.state[weight]
    assert state["step"] == 0
    assert not state["exp_avg"].any()
    assert weight.detach().equal(torch.tensor([1.0, -2.0]))
    assert weight.grad is None


@pytest.mark.usefixtures("library")
def test_it_steps_at_the_scheduled_rate() -> None:
    weight, optimizer = made()
    plain = nn.Parameter(weight.detach().clone())
    reference = RoleOptimizer({"weight": plain}, SETTINGS.model_copy(update={"optimizer": "adamw"}), 10)
    for _ in range(3):
        for each, by in ((weight, optimizer), (plain, reference)):
            each.grad = torch.tensor([0.3, -0.1])
            by.step()
    torch.testing.assert_close(weight, plain)
    assert optimizer.last_learning_rate == reference.last_learning_rate == 0.1


@pytest.mark.usefixtures("library")
def test_a_broken_step_leaves_weights_and_moments_and_counts() -> None:
    weight, optimizer = made()
    weight.grad = torch.tensor([float("nan"), 1.0])
    optimizer.step(Flag(torch.tensor(1.0)))
    assert weight.detach().equal(torch.tensor([1.0, -2.0]))
    assert not optimizer.adamw.state[weight]["exp_avg"].any()
    assert optimizer.updates == 1
    weight.grad = torch.tensor([1.0, 1.0])
    optimizer.step(Flag(torch.tensor(0.0)))
    assert not weight.detach().equal(torch.tensor([1.0, -2.0]))


def test_a_library_that_is_not_installed_is_named_before_weights_are_loaded(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eight_bit, "find_spec", lambda name: None)
    run = world.resolved(world.mapping("dmd2"), "roles.critic.optimizer=adamw8bit")
    with pytest.raises(ConfigError) as caught:
        prepare(run)
    (problem,) = caught.value.problems
    assert problem.key == "roles.critic.optimizer"
    assert problem.message.endswith("pip install 'distill-core[torchao]'")


@pytest.mark.usefixtures("library")
def test_an_optimizer_that_fails_here_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Library, closure: Any = None) -> None:
        """As where there is no compiler."""
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(Library, "step", broken)
    with pytest.raises(ConfigError, match=r"does not run on this machine \(.*no C\+\+ compiler.*\); choose adamw"):
        made()


def test_a_run_from_before_there_was_another_goes_on(world: ToyWorld) -> None:
    now = world.resolved(world.mapping("finetune")).to_mapping()
    before = {**now, "training": {key: value for key, value in now["training"].items() if key != "optimizer"}}
    assert not differences(before, now)
    other = world.resolved(world.mapping("finetune"), "training.optimizer=adamw8bit").to_mapping()
    assert binding(other)["training.optimizer"] == "adamw8bit"
    assert len(differences(before, other)) == 1
