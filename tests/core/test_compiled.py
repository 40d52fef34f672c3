"""Compiled blocks: equal numbers, no leak between roles that share them, and nothing compiled again once all has come once."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import sleep

import pytest
import torch
from tests.core.conftest import ToyWorld
from torch import Tensor, nn

from distill_core.config.recomputation import Recomputation
from distill_core.errors import ConfigError
from distill_core.ranks.place import Place
from distill_core.running.preparation import prepare
from distill_core.terminal import said_meanwhile
from distill_core.training.compiled import compile_blocks, made, why_not_compiled
from distill_core.training.lora import LoraWeights, Rank, wearing
from distill_core.training.recompute import recomputed, recomputing

CPU = torch.device("cpu")


class Block(nn.Module):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 4] to [B, 4]."""
        out: Tensor = self.second(self.first(x).relu()) + x
        return out


class Blocks(nn.Module):
    """Three blocks that can recompute."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 4] to [B, 4]."""
        for block in self.blocks:
            x = recomputed(block, x)
        return x


def adapter(model: Blocks, name: str, layers: list[str]) -> LoraWeights:
    """A LoRA that makes a difference."""
    lora = LoraWeights({"m": model}, dict.fromkeys(layers, Rank(2, 1.0)))
    lora.initialize(0, name, "uniform")
    for layer in layers:
        nn.init.normal_(lora.pair(layer).lora_B.weight)
    return lora


@pytest.mark.parametrize("said", [None, Recomputation()])
def test_roles_that_share_compiled_blocks_do_not_see_each_other_and_nothing_is_compiled_twice(
    said: Recomputation | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_core.training.compiled.BACKEND", "eager")
    torch.manual_seed(0)
    model = Blocks().requires_grad_(False)
    # The first block, which is compiled first, has no adapted layer; the others have, each role its own.
    one = adapter(model, "one", ["m.blocks.1.first", "m.blocks.2.first"])
    other = adapter(model, "other", ["m.blocks.1.first", "m.blocks.2.second"])
    x = torch.randn(3, 4)

    def tried() -> list[Tensor]:
        """What three roles predict, and the first one's gradients though the others come before its backward pass."""
        with wearing((one,)), recomputing(said):
            answer = model(x)
        with wearing((other,)), recomputing(said):
            theirs = model(x)
        with wearing(()), recomputing(said), torch.no_grad():
            plain = model(x)
        one.zero_grad()
        answer.square().sum().backward()
        return [answer, theirs, plain, *(p.grad for p in one.parameters() if p.grad is not None)]

    expected = tried()
    assert compile_blocks([model]) == 3
    before = made()
    first = tried()
    warm = made()
    again = tried()
    assert before < warm == made()
    assert len(expected) == 3 + 4
    for found in (first, again):
        assert all(mine.equal(theirs) for mine, theirs in zip(found, expected, strict=True))


def test_a_block_that_is_called_in_too_many_ways_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_core.training.compiled.BACKEND", "eager")
    monkeypatch.setattr("distill_core.training.compiled.MOST", 2)
    torch._dynamo.reset()
    model = Blocks().requires_grad_(False)
    with torch._dynamo.config.patch(recompile_limit=2), torch.no_grad():
        compile_blocks([model])
        for dtype in (torch.float32, torch.float64):
            model.to(dtype)(torch.ones(3, 4, dtype=dtype))
        with pytest.raises(Exception, match="recompile_limit"):
            model.to(torch.bfloat16)(torch.ones(3, 4, dtype=torch.bfloat16))
    torch._dynamo.reset()


def test_a_machine_that_cannot_compile_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> object:
        """As inductor without a C++ compiler."""
        raise RuntimeError("no working compiler")

    monkeypatch.setattr("distill_core.training.compiled.BACKEND", "eager")
    assert why_not_compiled(CPU, torch.float32) is None
    monkeypatch.setattr("distill_core.training.compiled.BACKEND", broken)
    fault = why_not_compiled(CPU, torch.float32)
    assert fault is not None
    assert "torch.compile does not run on this machine" in fault
    assert "no working compiler" in fault


def test_what_compiled_blocks_do_not_have_is_refused_before_weights_are_loaded(world: ToyWorld) -> None:
    run = world.mapping("dmd2")
    run["training"] |= {"enable_gradient_checkpointing_type": "selective"}
    run["roles"]["student"]["compile"] = True
    with pytest.raises(ConfigError) as caught:
        prepare(world.resolved(run))
    (problem,) = caught.value.problems
    assert problem.key == "roles.student.compile"
    assert "set roles.student.recompute to full or none" in problem.message


def test_a_model_without_blocks_is_refused(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_core.training.compiled.BACKEND", "eager")
    run = world.mapping("finetune")
    run["training"]["compile"] = True
    with pytest.raises(ConfigError, match=r"roles\.student\.compile: this model has no blocks"):
        world.train(run)


def test_a_person_hears_that_a_compiler_is_tried_out_and_what_the_first_steps_will_take(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = world.mapping("dmd2")
    run["roles"]["student"]["compile"] = True
    run["distributed"] = {"shard": 1}
    monkeypatch.setattr("distill_core.running.means.why_not_compiled", lambda *_: sleep(0.3))
    for patience, told in ((9.0, 0), (0.1, 1)):
        meanwhile = partial(said_meanwhile, patience=patience)
        monkeypatch.setattr("distill_core.running.preparation.said_meanwhile", meanwhile)
        found = world.resolved(run)
        prepare(found)
        assert capsys.readouterr().err.count("trying out on this machine") == told
        prepare(found, Place(1, 2, 1))
        assert not capsys.readouterr().err, "the first process says it"
    assert "blocks of student are compiled when they are first called" in " ".join(found.notes)


def test_nothing_that_a_block_reads_is_a_context_variable() -> None:
    """torch before 2.15 compiles no block that looks into one; surroundings.py carries those of others."""
    packages = Path(__file__).parents[2] / "packages"
    users = {path.name for path in packages.rglob("src/**/*.py") if "ContextVar" in path.read_text(encoding="utf-8")}
    assert users == {"described.py", "weightless.py"}
