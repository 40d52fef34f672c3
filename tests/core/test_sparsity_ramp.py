"""The rise of sparse attention: its values, what a role is told of it, what is logged, and that a resumed run goes on exactly."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core.conftest import INDEX, ToyWorld

from distill_core.config.sparsity import SparsityRamp
from distill_core.errors import ConfigError
from distill_core.protocols import Ask, Prediction
from distill_core.testing.contracts import FAMILY, toy_batch, toy_roles
from distill_core.testing.toy import ToyAdapter


def test_the_ramp_rises_from_dense_to_the_target_and_the_last_rise_is_short() -> None:
    ramp = SparsityRamp(target=0.7, rise=0.25, interval=10)
    assert [ramp.at(step) for step in (1, 9, 10, 19, 20, 29, 30, 31, 1000)] == [
        0,
        0,
        0.25,
        0.25,
        0.5,
        0.5,
        0.7,
        0.7,
        0.7,
    ]


def test_without_a_rise_the_target_is_there_from_the_first_step() -> None:
    assert SparsityRamp(0.9).at(1) == 0.9


@given(target=st.floats(0, 0.99), rise=st.floats(0.001, 0.9), interval=st.integers(1, 50), step=st.integers(1, 10**6))
def test_the_ramp_never_falls_and_ends_at_the_target_itself(
    target: float, rise: float, interval: int, step: int
) -> None:
    ramp = SparsityRamp(target, rise, interval)
    assert 0.0 <= ramp.at(step) <= ramp.at(step + 1) <= target
    assert ramp.at(interval * (int(target / rise) + 1)) == target


def sparse(world: ToyWorld, **training: Any) -> dict[str, Any]:
    """A run of 12 steps whose method asks its role for vsa attention."""
    run = world.mapping("dmd2", method_config={"attn_kind": "vsa"}, tracking={"log_interval": 1})
    return run | {"training": run["training"] | training}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """Every kind and sparsity that a toy prediction is asked for."""
    found: list[tuple[str, float]] = []
    original = ToyAdapter.predict

    def watched(adapter: ToyAdapter, *args: Any) -> Prediction:
        ask = args[-1]
        found.append((ask.attn_kind, ask.sparsity))
        return original(adapter, *args)

    monkeypatch.setattr(ToyAdapter, "predict", watched)
    return found


RAMP = {"VSA_sparsity": 0.6, "VSA_decay_rate": 0.25, "VSA_decay_interval_steps": 4}


def test_every_micro_step_of_a_step_has_its_sparsity_and_the_log_says_it(
    world: ToyWorld, asked: list[tuple[str, float]]
) -> None:
    directory = world.train(sparse(world, **RAMP))
    logged = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    values = {line["step"]: line["vsa_sparsity"] for line in logged if "vsa_sparsity" in line}
    assert values == {step: min(0.6, 0.25 * (step // 4)) for step in range(1, 13)}
    assert [value for kind, value in asked if kind == "vsa"] == sorted(value for kind, value in asked if kind == "vsa")
    assert {value for kind, value in asked if kind == "vsa"} == {0.0, 0.25, 0.5, 0.6}


def test_validation_and_comparison_are_at_the_target_from_the_start(
    world: ToyWorld, asked: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_core.training.trainer.DistillTrainer.train_step", lambda trainer, step: None)
    rows = {
        "sparse": {"role": "student"},
        "denser": {"role": "student", "attn_kind": "dense"},
        "less": {"role": "student", "sparsity": 0.2},
    }
    run = sparse(world, **RAMP) | {
        "validation": {"interval": 100, "at_start": True},
        "comparison": {"rows": rows, "max_prompts": 1},
    }
    world.train(run)
    assert set(asked) == {("vsa", 0.6), ("dense", 0.6), ("vsa", 0.2)}


def test_a_run_without_sparse_attention_logs_no_sparsity(world: ToyWorld) -> None:
    assert "vsa_sparsity" not in world.train(world.mapping("dmd2")).metrics.read_text()


def test_a_comparison_cannot_ask_a_role_for_attention_that_it_is_loaded_without(world: ToyWorld) -> None:
    rows = {"x": {"role": "teacher", "attn_kind": "vsa"}}
    with pytest.raises(
        ConfigError, match=r"comparison.rows.x.attn_kind: the method asks role 'teacher' for no vsa attention"
    ):
        world.resolved(sparse(world, **RAMP) | {"comparison": {"rows": rows, "max_prompts": 1}})


def test_what_has_no_effect_is_said(world: ToyWorld) -> None:
    assert world.resolved(sparse(world)).notes == ("training.VSA_sparsity is 0: vsa attention will leave nothing out",)
    idle = world.mapping("dmd2")
    idle["training"] = idle["training"] | {"VSA_sparsity": 0.5}
    assert world.resolved(idle).notes == (
        "training.VSA_sparsity has no effect: the method asks for no vsa attention (method_config.attn_kind)",
    )


def test_a_role_takes_the_sparsity_of_a_call_over_that_of_the_step(asked: list[tuple[str, float]]) -> None:
    role = toy_roles(INDEX.methods["dmd2"])["student"]
    role.sparsity = 0.3
    batch = toy_batch()
    for sparsity in (None, 0.8):
        t_B = torch.full((batch.size,), 500.0, dtype=torch.float64)
        role.predict_velocity(batch.latents, t_B, batch.conditions[FAMILY], Ask("vsa", sparsity))
    assert asked == [("vsa", 0.3), ("vsa", 0.8)]
