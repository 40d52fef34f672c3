"""Phased DMD: its contract, whose turn it is, where each phase ends and is scored, which expert is trained, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from distill_core.errors import ConfigError
from distill_core.plugins import ModelFacts
from distill_core.protocols import Batch, ModelRequest, Prompt
from distill_core.protocols.batch import RowKey
from distill_core.testing.contracts import check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_core.testing.toy import ToyAdapter
from distill_core.testing.toy_spec import inspect, write_toy_model
from distill_core.training.roles import RoleHandle
from distill_method_phased_dmd.config import PhasedDmdOptions
from distill_method_phased_dmd.method import PhasedDmd
from distill_method_phased_dmd.plugin import spec
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import inspect as inspect_wan
from distill_model_wan.model import WanModel
from distill_model_wan.testing import make_tiny_pipeline

CPU = torch.device("cpu")
OPTIONS = PhasedDmdOptions(dmd_denoising_steps=(1000, 900, 500, 250), boundary=700, generator_update_interval=1)


def test_the_method_keeps_its_contract() -> None:
    report = check_method(spec(), OPTIONS.model_copy(update={"generator_update_interval": 2}), steps=4)
    assert [roles for _, roles in sorted(report.steps.items())] == [("critic",), ("student", "critic")] * 2


def test_phases_alternate_with_the_students_updates() -> None:
    options = PhasedDmdOptions(generator_update_interval=5)
    assert [options.phase(step) for step in (1, 5, 6, 10, 11)] == ["high", "high", "low", "low", "high"]
    updates = [step for step in range(1, 41) if "student" in options.roles_to_step(step)]
    assert [options.phase(step) for step in updates] == ["high", "low"] * 4


def test_a_run_that_ends_before_the_low_phases_first_update_is_told_so() -> None:
    options = PhasedDmdOptions(generator_update_interval=5)
    (said,) = options.left_out(9)
    assert "low phase is not updated in 9 steps" in said
    assert "10 steps train both" in said
    assert list(options.left_out(10)) == []


def asked_of(role: str, step: int, flow_shift: float = 1.0, **changes: object) -> list[Tensor]:
    """The timesteps that a role is asked at in one step, in order."""
    options = OPTIONS.model_copy(update=changes)
    roles = toy_roles(spec(), options)
    adapter = roles["student"].adapter
    assert isinstance(adapter, ToyAdapter)
    adapter.options = adapter.options.model_copy(update={"flow_shift": flow_shift})
    found: list[Tensor] = []
    roles[role].modules["denoiser"].register_forward_pre_hook(
        lambda module, inputs: found.append(inputs[2][:, 0].double() * 1000.0)
    )
    list(PhasedDmd(roles, options).losses(toy_batch(), toy_draw(step)))
    return found


@pytest.mark.parametrize("step", range(1, 9))
def test_a_phase_ends_its_rollout_in_its_own_steps_and_is_scored_in_its_own_range(step: int) -> None:
    high = OPTIONS.phase(step) == "high"
    last, scored = asked_of("student", step)[-1], torch.cat(asked_of("critic", step))
    assert last.unique().item() in ((1000.0, 900.0) if high else (500.0, 250.0))
    assert ((scored >= 720.0) & (scored <= 980.0) if high else (scored >= 20.0) & (scored < 700.0)).all()


@pytest.mark.parametrize("step", range(1, 5))
def test_windows_are_drawn_before_the_flow_shift(step: int) -> None:
    scored = torch.cat(asked_of("critic", step, flow_shift=7.0, boundary=875.0))
    # Shift 7 moves 500 to 875, 520 to 883.5, 980 to 997.1, and 20 to 125.
    low, high = (883.4, 997.2) if OPTIONS.phase(step) == "high" else (124.9, 875.0)
    assert ((scored >= low) & (scored <= high)).all()


def test_the_high_phases_anchor_is_at_the_boundary_and_the_low_ones_is_clean() -> None:
    roles = toy_roles(spec(), OPTIONS)
    method = PhasedDmd(roles, OPTIONS)
    for phase, end in (("high", 700.0), ("low", 0.0)):
        assert method._rollout(phase, toy_batch(), toy_draw(1)).timestep == end


def wan_roles(folder: Path) -> tuple[dict[str, RoleHandle], WanModel]:
    """Three roles of a tiny Wan 2.2 with two experts."""
    facts = inspect_wan(str(make_tiny_pipeline(folder / "a14b", "a14b")))
    model = WanModel(facts, WanOptions(flow_shift=7.0), CPU, torch.float32)
    roles = {
        name: RoleHandle(
            name,
            model.load_modules(ModelRequest(facts, name != "teacher", torch.float32)),
            model.adapter,
            trainable=name != "teacher",
            family="wan",
            latent_shape=(3, 16, 4, 4),
        )
        for name in ("student", "teacher", "critic")
    }
    return roles, model


def test_each_phase_trains_one_expert_of_each_role(tmp_path: Path) -> None:
    roles, model = wan_roles(tmp_path)
    options = PhasedDmdOptions(
        dmd_denoising_steps=(1000, 750, 499, 250), warp_denoising_steps=True, generator_update_interval=1
    )
    condition = model.adapter.encode_condition([Prompt("a cat")])
    batch = Batch((RowKey("row", "a cat"),), {"wan": condition}, (3, 16, 4, 4))
    trained: dict[str, set[str]] = {}
    for step in (1, 2):
        for loss in PhasedDmd(roles, options).losses(batch, toy_draw(step, 1)):
            loss.value.backward()
        for name in ("student", "critic"):
            found = {key.split(".")[0] for key, p in roles[name].trained_parameters().items() if p.grad is not None}
            trained[f"{name} {options.phase(step)}"] = found
        gradients(roles)
    assert trained == {
        "student high": {"transformer"}, "critic high": {"transformer"},
        "student low": {"transformer_2"}, "critic low": {"transformer_2"},
    }  # fmt: skip


def facts_of(folder: Path, **changes: Any) -> Mapping[str, ModelFacts]:
    facts = inspect(str(write_toy_model(folder)))
    return {"student": ModelFacts(**{**vars(facts), "flow_shift": 7.0, **changes})}


def misfits(folder: Path, options: PhasedDmdOptions, **changes: Any) -> dict[str, str]:
    return dict(options.misfits(facts_of(folder, **changes)))


def test_a_boundary_that_is_not_the_experts_own_is_refused(tmp_path: Path) -> None:
    warped = PhasedDmdOptions(warp_denoising_steps=True, dmd_denoising_steps=(1000, 750, 499, 250))
    assert misfits(tmp_path, warped, boundary=875.0) == {}
    assert "the experts of student meet at 900; set it to that" in misfits(tmp_path, warped, boundary=900.0)["boundary"]


def test_a_step_on_the_experts_boundary_is_refused(tmp_path: Path) -> None:
    warped = PhasedDmdOptions(warp_denoising_steps=True)
    assert "e.g. 499 in place of 500" in misfits(tmp_path, warped, boundary=875.0)["dmd_denoising_steps"]
    assert misfits(tmp_path, warped) == {}, "one network denoises on both sides"


def test_a_phase_without_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"600 has no step of \[1000.0, 750.0\] below it"):
        PhasedDmdOptions(dmd_denoising_steps=(1000, 750), boundary=600)
    warped = PhasedDmdOptions(warp_denoising_steps=True, dmd_denoising_steps=(1000, 900), boundary=800)
    assert "has no step" in misfits(tmp_path, warped)["boundary"]
    with pytest.raises(ConfigError, match=r"method_config\.boundary"):
        PhasedDmd(toy_roles(spec(), warped), warped)


def test_a_phase_without_a_timestep_to_score_at_is_refused(tmp_path: Path) -> None:
    narrow = PhasedDmdOptions(boundary=875, boundary_margin=600)
    assert "leaves the high phase no timestep" in misfits(tmp_path, narrow)["boundary"]
