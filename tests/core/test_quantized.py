"""Weights in fewer bits: what is refused where they cannot be, and, with the real libraries, what they do."""

from __future__ import annotations

import subprocess
from importlib import util
from pathlib import Path

import pytest
import torch
from tests.core.conftest import ToyWorld, methods
from tests.core.test_lora_runs import shared
from torch import nn

from distill_core.config.schema import LIBRARIES
from distill_core.errors import ConfigError
from distill_core.running.identity import frozen_hash
from distill_core.running.preparation import prepare
from distill_core.testing.toy_parts import toy_roles
from distill_core.training.quantized import held_tensors, why_not
from distill_core.training.roles import RoleHandle

CASES = Path(__file__).with_name("quantized_cases.py")


@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_library_that_is_not_installed_is_named_before_weights_are_loaded(
    world: ToyWorld, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = util.find_spec
    monkeypatch.setattr(
        "distill_core.training.quantized.find_spec",
        lambda name: None if name in LIBRARIES.values() else find(name),
    )
    with pytest.raises(ConfigError) as caught:
        prepare(world.resolved(shared(world, weights=kind)))
    assert {problem.key for problem in caught.value.problems} == {
        f"roles.{role}.weights" for role in ("student", "teacher", "critic")
    }
    assert f"pip install 'distill-core[{LIBRARIES[kind]}]'" in str(caught.value)


def test_a_library_that_fails_on_this_machine_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        """As kernels that a device has not."""
        raise RuntimeError("no kernel image")

    monkeypatch.setattr("distill_core.training.quantized.find_spec", lambda name: name)
    monkeypatch.setattr("distill_core.training.quantized.quantize", broken)
    fault = why_not("fp8", torch.device("cpu"), torch.float32)
    assert fault is not None
    assert fault.startswith("torchao cannot hold fp8 weights on this machine (")
    assert "no kernel image" in fault


def test_weights_in_fewer_bits_cannot_be_trained(world: ToyWorld) -> None:
    run = world.mapping("finetune")
    run["roles"]["student"]["weights"] = "int8"
    with pytest.raises(
        ConfigError, match=r"roles\.student\.weights: int8 weights cannot be trained; give the role `lora: \{\}`"
    ):
        world.resolved(run)


def test_weights_that_several_roles_share_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = toy_roles(methods()[0])["teacher"]
    other = RoleHandle("other", teacher.container, teacher.adapter, trainable=False)
    known: dict[tuple[int, torch.Size, torch.dtype], str] = {}
    first = frozen_hash(teacher, known)
    monkeypatch.setattr("distill_core.running.identity.tensor_hash", lambda tensor: "read again")
    assert frozen_hash(other, known) == first
    assert frozen_hash(other) != first


def test_a_plain_tensor_is_held_as_itself() -> None:
    weight = nn.Linear(2, 2).weight.detach()
    assert [held is weight for held in held_tensors(weight)] == [True]


@pytest.mark.slow
def test_the_real_libraries_hold_weights_and_train_loras_on_them() -> None:
    command = [
        "uv",
        "run",
        "--with",
        "torchao",
        "--with",
        "bitsandbytes",
        "python",
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        str(CASES),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
