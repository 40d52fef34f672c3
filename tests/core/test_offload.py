"""Weights that come and go: when each unit is asked for, by the log of a device that is none, and what it changes: no number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tests.core.conftest import ToyWorld
from tests.core.test_compiled import Blocks, adapter
from torch import Tensor, nn

from distill_core.config.recomputation import Recomputation
from distill_core.errors import ConfigError, PluginError
from distill_core.ranks.layout import Layout
from distill_core.running.means import refuse_placed
from distill_core.running.preparation import prepare
from distill_core.training import compiled
from distill_core.training.averages import WeightAverage
from distill_core.training.guarded_adamw import Flag
from distill_core.training.lora import wearing
from distill_core.training.offload import Offload, Unit
from distill_core.training.recompute import recomputing
from distill_core.training.transfers import HostTransfers

CPU = torch.device("cpu")
FORWARD = [
    "begin 0",
    "finish 0",
    "begin 1",
    "use 0",
    "finish 1",
    "drop 0",
    "begin 2",
    "use 1",
    "drop 1",
    "finish 2",
    "use 2",
]


class Log:
    """Transfers that only write down what is asked of them, and refuse what no device could do."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.here: dict[str, bool] = {}
        self.most = 0

    def note(self, what: str, unit: Unit) -> None:
        self.lines.append(f"{what} {unit.name.split()[1]}")

    def settle(self, unit: Unit) -> None:
        unit.module.register_forward_pre_hook(lambda *_: self.use(unit))

    def begin(self, unit: Unit) -> None:
        assert unit.name not in self.here
        self.here[unit.name] = False
        self.most = max(self.most, len(self.here))
        self.note("begin", unit)

    def finish(self, unit: Unit) -> None:
        self.here[unit.name] = True
        self.note("finish", unit)

    def use(self, unit: Unit) -> None:
        assert self.here[unit.name]
        self.note("use", unit)

    def drop(self, unit: Unit) -> None:
        del self.here[unit.name]
        self.note("drop", unit)

    def hosted(self, unit: Unit) -> Mapping[int, Tensor]:
        return {}


def logged(model: nn.Module) -> tuple[Log, Offload]:
    """A model whose units are fetched from nowhere."""
    log = Log()
    offload = Offload({"m": model}, log, streamed=True)
    # The log's own hook sees a unit used after the schedule's has fetched it.
    for unit in offload.units:
        hooks = unit.module._forward_pre_hooks
        hooks.move_to_end(next(iter(hooks)))
    return log, offload


def test_a_pass_without_a_graph_fetches_each_block_while_the_one_before_computes() -> None:
    model = Blocks().requires_grad_(False)
    log, _ = logged(model)
    with recomputing(None), torch.no_grad():
        model(torch.ones(1, 4))
    assert sorted(log.lines) == sorted([*FORWARD, "drop 2"])
    order = {line: place for place, line in enumerate(log.lines)}
    for number in range(3):
        assert order[f"begin {number}"] < order[f"finish {number}"] < order[f"use {number}"] < order[f"drop {number}"]
    assert order["begin 1"] < order["use 0"]
    assert order["begin 2"] < order["use 1"]
    assert log.most == 2
    assert not log.here


@pytest.mark.parametrize("said", [None, Recomputation(), Recomputation(every=2)])
def test_a_backward_pass_fetches_them_in_reverse_and_each_is_back_before_it_is_computed_again(
    said: Recomputation | None,
) -> None:
    model = Blocks().requires_grad_(False)
    log, offload = logged(model)
    x = torch.ones(1, 4, requires_grad=True)
    with recomputing(said):
        out = model(x)
    forward = len(log.lines)
    assert set(log.here) == {"block 2 of m"}
    out.sum().backward()
    fetched = [line for line in log.lines[forward:] if line.startswith("begin")]
    assert fetched == ["begin 1", "begin 0"]
    assert log.most == 2
    offload.rest()
    assert not log.here


class Shared:
    """Three blocks, twice alike: on a device, and in host memory; two LoRAs on each."""

    def __init__(self, *, streamed: bool) -> None:
        torch.manual_seed(0)
        self.stays = Blocks().requires_grad_(False)
        self.leaves = Blocks().requires_grad_(False)
        self.leaves.load_state_dict(self.stays.state_dict())
        self.hosts = HostTransfers(CPU)
        layers = ["m.blocks.0.first", "m.blocks.2.second"]
        self.adapters = {model: adapter(model, "one", layers) for model in (self.stays, self.leaves)}
        self.adapters[self.leaves].load_state_dict(self.adapters[self.stays].state_dict())
        self.offload = Offload({"m": self.leaves}, self.hosts, streamed=streamed)

    def there(self) -> list[bool]:
        """Which blocks have memory on the device."""
        return [bool(block.get_parameter("first.weight").untyped_storage().nbytes()) for block in self.leaves.blocks]

    def gradients(self, model: Blocks, said: Recomputation | None) -> list[Tensor]:
        """Of the input and of the LoRA, with another pass between forward and backward; and the answers."""
        lora, x = self.adapters[model], torch.linspace(-1.0, 1.0, 8).view(2, 4).requires_grad_()
        lora.zero_grad()
        with wearing((lora,)), recomputing(said):
            two = model(x) + model(2.0 * x)
        with wearing(()), recomputing(said), torch.no_grad():
            plain = model(x)
        two.square().sum().backward()
        self.offload.rest()
        assert x.grad is not None
        return [two, plain, x.grad, *(p.grad for p in lora.parameters() if p.grad is not None)]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("said", [None, Recomputation(), Recomputation(attention_kept=True)])
def test_numbers_are_those_of_weights_that_stay(streamed: bool, said: Recomputation | None) -> None:
    shared = Shared(streamed=streamed)
    assert not any(shared.there())
    found, expected = shared.gradients(shared.leaves, said), shared.gradients(shared.stays, said)
    assert len(expected) == 3 + 4
    assert all(mine.equal(theirs) for mine, theirs in zip(found, expected, strict=True))
    assert not any(shared.there())


def test_weights_that_are_away_are_read_in_host_memory() -> None:
    shared = Shared(streamed=True)
    hosted = shared.offload.hosted()
    theirs = dict(shared.stays.named_parameters())
    for name, parameter in shared.leaves.named_parameters():
        assert hosted[id(parameter)].equal(theirs[name])


def test_a_second_derivative_of_weights_that_come_and_go_is_refused() -> None:
    shared = Shared(streamed=True)
    x = torch.ones(1, 4, requires_grad=True)
    with wearing(()), recomputing(None):
        out = shared.leaves(x).square().sum()
    with pytest.raises(PluginError, match="set its role's placement to device"):
        torch.autograd.grad(out, x, create_graph=True)


@pytest.mark.parametrize("broken", [None, 0.0, 1.0])
@pytest.mark.parametrize("start_step", [0, 9])
def test_an_average_in_host_memory_is_the_one_on_the_device(broken: float | None, start_step: int) -> None:
    weights = {name: torch.randn(3, 3) for name in "ab"}
    averages = [WeightAverage(weights, 0.7, start_step, place) for place in (None, CPU)]
    weights = {name: tensor + 1.0 for name, tensor in weights.items()}
    for average in averages:
        average.update(weights, 3, None if broken is None else Flag(torch.tensor(broken)))
    device, host = averages
    assert all(tensor.equal(host.shadow[name]) for name, tensor in device.shadow.items())


def sound(world: ToyWorld, **roles: dict[str, Any]) -> dict[str, Any]:
    """A DMD2 run with these keys at its roles."""
    run = world.mapping("dmd2")
    for name, keys in roles.items():
        run["roles"][name] |= keys
    return run


def test_trained_weights_and_those_in_fewer_bits_stay(world: ToyWorld) -> None:
    run = sound(world, critic={"placement": "cpu"}, teacher={"placement": "stream", "weights": "int8"})
    with pytest.raises(ConfigError) as caught:
        world.resolved(run)
    found = {problem.key: problem.message for problem in caught.value.problems}
    assert found.keys() == {"roles.critic.placement", "roles.teacher.placement"}
    assert "give the role `lora: {}`" in found["roles.critic.placement"]


def test_weights_that_are_compiled_or_in_parts_stay(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    run = world.resolved(sound(world, teacher={"placement": "stream", "compile": True}))
    with pytest.raises(ConfigError, match=r"roles\.teacher\.placement: compiled blocks stay"):
        prepare(run)
    with pytest.raises(ConfigError, match=r"roles\.teacher\.placement: weights in parts stay"):
        refuse_placed(run.config, Layout.of(None, 2, 2))


def test_weights_that_are_held_twice_for_where_they_live_are_noted(world: ToyWorld) -> None:
    shared = {"path": str(world.root / "teacher")}
    roles = {"student": {**shared, "lora": {}}, "teacher": shared, "critic": {**shared, "lora": {}}}
    assert not [note for note in world.resolved(sound(world, **roles)).notes if "set of weights" in note]
    run = sound(world, **{**roles, "teacher": {**shared, "placement": "stream"}})
    (note,) = [note for note in world.resolved(run).notes if "set of weights" in note]
    assert note.startswith("one set of weights is held once for student, critic, and once for teacher: their placement")


def test_a_run_trains_the_same_whose_teacher_lives_in_host_memory(world: ToyWorld) -> None:
    figures = {}
    for place in ("device", "cpu"):
        run = sound(
            world,
            teacher={"placement": place, "guidance_passes": 2},
            student={"ema": {"decay": 0.5, "placement": place}},
        )
        run["output_dir"] = str(world.root / place)
        lines = world.train(run).metrics.read_text().splitlines()
        figures[place] = [line.partition("steps_per_second")[0] for line in lines]
    assert figures["cpu"] == figures["device"]
