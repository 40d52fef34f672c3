"""Runs of the toy on weights in fewer bits, by the real libraries.

``uv run --with torchao --with bitsandbytes python -m pytest tests/core/quantized_cases.py``

Not collected by itself: the libraries are extras, and print when diffusers finds them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.core.conftest import ToyWorld
from tests.core.test_lora_runs import shared, tensors_of
from tests.wan.test_wan_unread import compare, write_larger
from torch import nn

from distill_core.config.schema import Optimization
from distill_core.errors import ConfigError
from distill_core.plugins.weightless import weightless
from distill_core.running.run_directory import RunDirectory
from distill_core.running.weights import byte_count
from distill_core.training.by_rule import EightBitByRule
from distill_core.training.eight_bit import eight_bit_adamw
from distill_core.training.quantized import held_tensors, quantize, why_not


def told(directory: RunDirectory) -> str:
    """What the run said of its modules."""
    lines = [json.loads(line) for line in directory.events.read_text().splitlines()]
    return "\n".join(line["message"] for line in lines if line["event"] == "modules")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("kind", "most"), [("int8", 0.02), ("fp8", 0.06)])
def test_loras_train_on_weights_in_fewer_bits(world: ToyWorld, kind: str, most: float, precision: str) -> None:
    run = shared(world, weights=kind)
    directory = world.train(run, f"training.precision={precision}")
    said = told(directory)
    assert f"held in {kind}: 2 layers" in said
    error = float(said.partition("differ by ")[2].partition("%")[0]) / 100
    assert 0 < error < most
    print(kind, precision, said.splitlines()[0])
    tensors = tensors_of(directory, 12)
    assert all("lora_" in name for name in tensors)
    assert all(tensor.any() and tensor.isfinite().all() for name, tensor in tensors.items() if "lora_B" in name)


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_a_run_on_weights_in_fewer_bits_goes_on_bitwise(world: ToyWorld, kind: str) -> None:
    run = shared(world, weights=kind)
    through = tensors_of(world.train({**run, "output_dir": str(world.root / "whole")}), 12)
    cut = {**run, "output_dir": str(world.root / "cut")}
    world.train(cut, "training.max_train_steps=6")
    again = tensors_of(world.train(cut), 12)
    assert all(tensor.equal(again[name]) for name, tensor in through.items())


@pytest.mark.parametrize("kind", ["int8", "fp8", "nf4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_in_fewer_bits_answers_nearly_as_before_and_passes_gradients(kind: str, dtype: torch.dtype) -> None:
    assert why_not(kind, torch.device("cpu"), dtype) is None
    torch.manual_seed(0)
    blocks = nn.ModuleList([nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)) for _ in range(2)])
    model = nn.ModuleDict({"blocks": blocks, "head": nn.Linear(64, 3)}).to(dtype).requires_grad_(False)
    x = torch.randn(8, 64, dtype=dtype, requires_grad=True)
    held, before = byte_count(model), blocks[1](blocks[0](x))
    assert quantize(model, kind) == 4
    assert type(model["head"].weight) is nn.Parameter
    assert byte_count(model) < held * (0.6 if dtype is torch.bfloat16 else 0.31)
    after = blocks[1](blocks[0](x))
    error = float(((after - before).norm() / before.norm()).detach())
    assert 0 < error < {"int8": 0.02, "fp8": 0.06, "nf4": 0.2}[kind]
    after.float().sum().backward()
    assert x.grad is not None
    assert x.grad.any()


@pytest.mark.parametrize("kind", ["int8", "fp8", "nf4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(64, 128), (512, 384), (1536, 8960)])
def test_plan_counts_a_layer_in_fewer_bits_to_the_byte(kind: str, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """By rule, and of the library's layer: all that it holds, nf4's tables and scales too."""
    real, ruled = (nn.Sequential(nn.Linear(*shape, dtype=dtype)).requires_grad_(False) for _ in range(2))
    quantize(real, kind)
    with weightless():
        quantize(ruled, kind)
    tables = 0
    if kind == "nf4":
        state = real[0].weight.quant_state
        held = (state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)
        tables = sum(tensor.numel() * tensor.element_size() for tensor in held)
    assert byte_count(ruled) == byte_count(real) + tables
    x = torch.randn(16, shape[0], dtype=dtype, requires_grad=True)
    assert ruled(x).shape == real(x).shape
    ruled(x).sum().backward()


def test_plan_counts_moments_in_eight_bits_to_the_byte() -> None:
    parameters = [nn.Parameter(torch.randn(shape)) for shape in ((64, 64), (63, 65), (100,), (512, 300))]
    held = []
    for optimizer in (eight_bit_adamw(parameters, Optimization()), EightBitByRule(parameters)):
        tensors = [tensor for state in optimizer.state.values() for tensor in state.values()]
        held.append(sum(part.numel() * part.element_size() for tensor in tensors for part in held_tensors(tensor)))
    assert held[0] == held[1]


def test_a_wan_in_int8_is_read_block_by_block_and_never_there_whole(tmp_path: Path) -> None:
    compare(write_larger(tmp_path))


def test_a_model_whose_layers_do_not_fit_is_refused(world: ToyWorld) -> None:
    with pytest.raises(ConfigError, match="no layer of this model's blocks can be held in nf4"):
        world.train(shared(world, weights="nf4"))


def test_moments_in_eight_bits_train_and_go_on_bitwise(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "distill_core.testing.toy.HIDDEN", 512
    )  # torchao leaves moments of less than 4096 weights as they are
    run = world.mapping("finetune", training={"optimizer": "adamw8bit"})
    first = {**run, "output_dir": str(world.root / "whole")}
    through = tensors_of(world.train(first), 12)
    moments = {name: tensor for name, tensor in through.items() if ".exp_avg." in name}
    assert any(tensor.numel() > 4096 for tensor in moments.values())
    assert any(tensor.any() for tensor in moments.values())
    plain = tensors_of(world.train({**run, "output_dir": str(world.root / "plain")}, "training.optimizer=adamw"), 12)
    for name, tensor in through.items():
        if ".modules." in name:
            assert not tensor.equal(plain[name]) or tensor.numel() < 4096
            assert (tensor - plain[name]).abs().max() < 0.1 * (12 * 1e-2)
    cut = {**run, "output_dir": str(world.root / "cut")}
    world.train(cut, "training.max_train_steps=6")
    again = tensors_of(world.train(cut), 12)
    assert all(tensor.equal(again[name]) for name, tensor in through.items())
