"""Settings that were lost, or taken for others, between a run.yaml, its training and its samples: each is applied and told, or refused.

A test, or a few, for each row of the issue's table; those of the Wan family are in test_lost_sampling_settings.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tests.core.conftest import ToyWorld

from distill_core.config.sampled import ComparedRow, Comparison, Validation
from distill_core.config.schema import Optimization, RunConfig
from distill_core.errors import ConfigError, RunDirectoryError
from distill_core.finished.sample import SampleOrder
from distill_core.protocols.validator import SampledVideo, ValidationRequest
from distill_core.running.preparation import prepare
from distill_core.sampling.validator import distinct_slugs, tracked_name
from distill_core.training.optimization import Span, lr_multiplier
from distill_method_dmd2.config import Dmd2Options


@pytest.fixture
def world(tmp_path: Path) -> ToyWorld:
    return ToyWorld(tmp_path)


def refusal(world: ToyWorld, mapping: Mapping[str, Any], *overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        prepare(world.resolved(mapping, *overrides))
    return str(refused.value)


# dmd_denoising_steps in [0, 1], or a simulated rollout that starts far below 1000


@pytest.mark.parametrize("steps", ["[0.999, 0.937, 0.833, 0.624, 0]", "[1.0, 0.5]", "[0.5]"])
def test_denoising_steps_in_the_unit_of_sigma_are_refused_with_those_that_are_meant(
    world: ToyWorld, steps: str
) -> None:
    said = refusal(world, world.mapping("dmd2"), f"method_config.dmd_denoising_steps={steps}")
    assert "timesteps are in [0, 1000], and these all lie in [0, 1]; did you mean × 1000, [" in said
    assert "999, 937, 833, 624]?" in said or "0.999" not in steps


def test_every_other_list_of_timesteps_in_that_unit_is_refused_too(world: ToyWorld) -> None:
    assert "× 1000" in refusal(world, world.mapping("dmd2"), "method_config.guidance_range=[0.2, 0.8]")
    rows = "comparison={rows: {student: {role: student, timesteps: [1.0, 0.5]}}}"
    assert "× 1000, [1000, 500]" in refusal(world, world.mapping("dmd2"), rows)


@pytest.mark.parametrize("first", [750, 940, 2])
def test_a_simulated_rollout_that_does_not_start_from_noise_is_refused(first: int) -> None:
    with pytest.raises(ValidationError, match=r"starts at \d+: .* start it at 1000, or set rollout: data_latent"):
        Dmd2Options(dmd_denoising_steps=(first, 1.5))
    assert Dmd2Options(dmd_denoising_steps=(first, 1.5), rollout="data_latent").steps == (first, 1.5)
    assert Dmd2Options(dmd_denoising_steps=(999, 1.5)).steps == (999, 1.5)


# roles.X.weights: bf16 on a trained role


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bf16_weights_of_a_trained_role_are_refused_with_the_reason(world: ToyWorld, precision: str) -> None:
    mapping = world.mapping("dmd2", training={"precision": precision})
    said = refusal(world, mapping, "roles.critic.weights=bf16")
    assert "roles.critic.weights: " in said
    assert "keeps its weights in fp32: in bf16 an update below 1/512 of a weight rounds to nothing" in said


# flow_shift: null


def test_roles_that_agree_are_no_note(world: ToyWorld) -> None:
    assert world.resolved(world.mapping("dmd2")).notes == ()


# EMA 0.9999 over 800 updates


def test_an_average_that_hardly_moves_is_a_note_with_what_is_left_of_the_start(world: ToyWorld) -> None:
    mapping = world.mapping("finetune", training={"max_train_steps": 800})
    mapping["roles"]["student"]["ema"] = {"decay": 0.9999}
    (note,) = world.resolved(mapping).notes
    assert "still holds 92% of the weights that it starts from (decay^updates: 0.9999^800)" in note
    assert "roles.student.ema.decay: 0.9943 would leave 1%" in note
    mapping["roles"]["student"]["ema"] = {"decay": 0.9943}
    assert world.resolved(mapping).notes == ()


def test_an_average_is_counted_in_its_roles_own_updates_after_its_start(world: ToyWorld) -> None:
    mapping = world.mapping("dmd2", training={"max_train_steps": 1000})
    mapping["roles"]["student"]["ema"] = {"decay": 0.99, "start_step": 900}
    (note,) = world.resolved(mapping).notes
    assert "0.99^20)" in note  # every fifth of the last hundred steps


def test_a_note_is_shown_by_the_commands_and_kept_with_the_run(world: ToyWorld) -> None:
    mapping = world.mapping("finetune", training={"max_train_steps": 2})
    mapping["roles"]["student"]["ema"] = {"decay": 0.9}
    directory = world.train(mapping)
    noted = [json.loads(line) for line in directory.events.read_text().splitlines()]
    assert ["0.9^2" in each["message"] for each in noted if each["event"] == "note"] == [True]


# Chinese or long prompts with W&B


def test_videos_of_prompts_that_have_no_letters_or_are_alike_have_names_of_their_own() -> None:
    prompts = ("一只猫", "一只狗", "a" * 60 + " red", "a" * 60 + " blue")
    videos = [SampledVideo(prompt, 0, torch.zeros(1), 1) for prompt in prompts]
    names = [tracked_name(index, video) for index, video in enumerate(videos)]
    assert len(set(names)) == 4
    assert all(name.isascii() and name.startswith("samples/0") for name in names)
    assert tracked_name(0, videos[0]) != tracked_name(0, videos[1])
    assert names == [tracked_name(index, video) for index, video in enumerate(videos)]


def test_a_tracker_gets_a_video_of_each_of_the_prompts(world: ToyWorld) -> None:
    prompts = ["一只猫", "一只狗"]
    validation = {"interval": 1, "prompts": prompts, "sampling_steps": 1, "seeds": [0, 1]}
    mapping = world.mapping("finetune", training={"max_train_steps": 1}, validation=validation)
    directory = world.train({**mapping, "tracking": {"trackers": ["tensorboard"]}})
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told = EventAccumulator(str(directory.trackers / "tensorboard"))
    told.Reload()
    assert sum(tag.startswith("samples/") for tag in told.Tags()["tensors"]) == 4


def test_rows_of_a_comparison_whose_names_lose_their_letters_have_folders_of_their_own() -> None:
    assert distinct_slugs(["老师", "学生", "4 steps", "4-steps", "teacher"]) == {
        "老师": "empty", "学生": "empty-2", "4 steps": "4-steps", "4-steps": "4-steps-2", "teacher": "teacher",
    }  # fmt: skip


# seeds ≥ 2^64, or equal mod 2^32


@pytest.mark.parametrize("seeds", [[2**64], [2**32], [0, 2**32]])
def test_a_seed_that_a_generator_does_not_tell_apart_is_refused_at_load(world: ToyWorld, seeds: list[int]) -> None:
    said = refusal(world, world.mapping("finetune"), f"validation.seeds={seeds}")
    assert "at least 0 and below 4294967296" in said


def test_seeds_that_are_alike_are_refused(world: ToyWorld) -> None:
    said = refusal(world, world.mapping("finetune"), "validation.seeds=[3, 5, 3]")
    assert "two equal seeds make one video twice; write [3, 5]" in said


def test_the_seeds_of_a_comparison_and_of_a_command_are_bounded() -> None:
    with pytest.raises(ValidationError, match="less than 2147483648"):
        Comparison(rows={"a": ComparedRow(role="student")}, first_seed=2**31)
    assert Validation(seeds=(2**32 - 1,)).seeds == (2**32 - 1,)


def test_the_seed_of_a_run_may_be_any_number(world: ToyWorld) -> None:
    directory = world.train(world.mapping("finetune", training={"max_train_steps": 1, "seed": 2**64 + 1}))
    assert json.loads(directory.exit_reason.read_text())["reason"] == "completed"


# roles.critic.max_grad_norm: null under a number


def test_a_null_gradient_norm_of_a_role_is_none_and_one_that_is_left_out_is_the_runs(world: ToyWorld) -> None:
    mapping = world.mapping("dmd2", training={"max_grad_norm": 2.0})
    mapping["roles"]["critic"]["max_grad_norm"] = None
    resolved = world.resolved(mapping).config
    assert resolved.optimization("critic").max_grad_norm is None
    assert resolved.optimization("student").max_grad_norm == 2.0
    again = RunConfig.model_validate_json(resolved.model_dump_json())
    assert again == resolved
    assert again.optimization("critic").max_grad_norm is None
    assert again.optimization("student").max_grad_norm == 2.0


def test_a_run_goes_on_with_another_gradient_norm_only_where_that_is_asked_for(world: ToyWorld) -> None:
    mapping = world.mapping("finetune", training={"max_train_steps": 2})
    world.train(mapping)
    with pytest.raises(RunDirectoryError, match=r"roles\.student\.max_grad_norm: not set there, null here"):
        world.train(mapping, "roles.student.max_grad_norm=null")


# hints that would ruin a run


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.ema_decay=0.99", "it is `decay` under `roles.<name>.ema`"),
        ("training.min_timestep_ratio=0.02", "`min_timestep_ratio` belongs under `method_config`"),
        ("training.min_timestep_ratios=0.02", "did you mean `min_timestep_ratio` under `method_config`?"),
        ("method_config.rollout_mode=simulate", "what other tools call `rollout_mode` is `rollout` here"),
        ("training.max_grad_nrm=1", "did you mean `max_grad_norm`?"),
        ("roles.student.mode=lora", "what other tools call `mode` is `lora` here"),
    ],
)
def test_a_hint_names_the_key_of_that_meaning_wherever_it_is(world: ToyWorld, override: str, said: str) -> None:
    text = refusal(world, world.mapping("dmd2"), override)
    assert said in text
    for ruinous in ("weight_decay", "min_lr_ratio", "rollout_move"):
        assert ruinous not in text


# cadence changed on resume under cosine


def test_under_another_cadence_a_cosine_goes_on_from_its_rate_and_ends_at_the_end(world: ToyWorld) -> None:
    training = {"max_train_steps": 40, "lr_scheduler": "cosine", "learning_rate": 1.0e-2}
    mapping = world.mapping(
        "dmd2", training=training, checkpoint={"interval": 20}, tracking={"log_interval": 1},
        method_config={"generator_update_interval": 4},
    )  # fmt: skip
    directory = world.train(mapping)
    for checkpoint in directory.checkpoints.glob("step-00000040"):
        checkpoint.rename(world.root / "gone")
    world.train(mapping, "method_config.generator_update_interval=1", "checkpoint.resume=changed")
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    rates = {line["step"]: line["learning_rate/student"] for line in lines}
    assert rates[21] == pytest.approx(rates[20], rel=0.35)
    after = [rates[step] for step in range(20, 41)]
    assert after == sorted(after, reverse=True)
    assert rates[40] < 0.02e-2
    changed = [json.loads(line) for line in directory.events.read_text().splitlines()]
    assert "method_config.generator_update_interval: 4 there, 1 here" in [each["message"] for each in changed]


def test_a_schedule_that_is_stretched_goes_on_from_where_it_is() -> None:
    span = Span(0, 0.0, 10)
    longer = span.ending_at(25, 5)
    assert (longer.progress(5), longer.progress(15), longer.progress(25)) == (0.5, 0.75, 1.0)
    assert span.ending_at(10, 5) is span
    assert longer.ending_at(25, 9) is longer
    linear = Optimization(lr_scheduler="linear")
    assert lr_multiplier(linear, 4, span) > lr_multiplier(linear, 5, longer) == 0.5


# FastVideo HEAD's real_score_guidance_scale: 4.5


def test_the_guidance_that_is_meant_is_stated_where_a_convention_is_open(world: ToyWorld) -> None:
    mapping = world.mapping("dmd2", training={"max_train_steps": 5}, method_config={"real_score_guidance_scale": 4.5})
    (note,) = world.resolved(mapping).notes
    assert "guided by s = 5.5 of uncond + s·(cond - uncond)" in note
    assert "write guidance_scale: 4.5" in note
    directory = world.train(mapping)
    assert "s = 5.5" in directory.events.read_text()


# sample STUDENT --steps 4 of a 4-step student

STUDENT = ValidationRequest("student", "sde", timesteps=(1000.0, 937.5, 833.0, 625.0), guidance_scale=1.0)


def order(**asked: Any) -> SampleOrder:
    plain = SampleOrder("run", Path("out"), ("a",), (0,), *(None,) * 9, 16.0, None, None)
    return replace(plain, **asked)


def test_the_number_of_steps_that_a_student_has_keeps_its_timesteps() -> None:
    request = order(steps=4).applied_to(STUDENT)
    assert (request.steps, request.timesteps) == (None, STUDENT.timesteps)
    assert not list(order(steps=4).remarks(STUDENT))


def test_another_number_of_steps_is_sampled_and_said() -> None:
    request = order(steps=8).applied_to(STUDENT)
    assert (request.steps, request.timesteps) == (8, None)
    (remark,) = order(steps=8).remarks(STUDENT)
    assert remark == (
        "it was trained for the 4 timesteps 1000, 937.5, 833, 625, and is sampled in 8 steps of the family's own schedule"
    )


def test_timesteps_of_ones_own_are_sampled_and_said() -> None:
    own = order(timesteps=(1000.0, 500.0))
    assert own.applied_to(STUDENT).timesteps == (1000.0, 500.0)
    assert "other timesteps" in next(own.remarks(STUDENT))
    assert not list(order(timesteps=STUDENT.timesteps).remarks(STUDENT))
