"""What is planned without weights, against what the same run takes with them."""

from __future__ import annotations

import os
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from torch.profiler import ProfilerActivity, profile

from distill_core.config.document import write_yaml
from distill_core.planning.ledger import NOBODY, Ledger
from distill_core.planning.made_up_rows import MadeUpRows
from distill_core.planning.stage import Stage
from distill_core.planning.subject import Subject, subject_of
from distill_core.planning.trial import Trial, play
from distill_core.plugins.discovery import discover
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.weightless import weightless
from distill_model_wan.testing import make_tiny_pipeline

ROLES = {"finetune": ("student",), "dmd2": ("student", "teacher", "critic")}
FULL = "training.enable_gradient_checkpointing_type=full"
ALONE = "training.step_roles=alone"
ONE_KIND = "method_config.generator_update_interval=1"
BF16 = "training.precision=bf16"
TWO_MICRO_STEPS = "training.gradient_accumulation_steps=2"
TWO_SAMPLES = "training.train_batch_size=2"
AVERAGE = "roles.student.ema.decay=0.9"
SAMPLED = "validation.interval=10"
LARGER = ("data.num_frames=17", "data.num_height=128", "data.num_width=128")
"""Large enough for what kernels take for themselves to be little."""
LONGER = "data.num_frames=17"

SETTINGS: list[tuple[str, str, tuple[str, ...]]] = [
    ("finetune", "t2v", ()),
    ("finetune", "t2v", (FULL,)),
    ("finetune", "t2v", (BF16, FULL)),
    ("finetune", "t2v", (TWO_MICRO_STEPS, AVERAGE)),
    ("finetune", "t2v", (TWO_SAMPLES, LONGER)),
    ("finetune", "a14b", (BF16,)),
    ("finetune", "ti2v", (FULL, AVERAGE)),
    ("dmd2", "t2v", (ONE_KIND,)),
    ("dmd2", "t2v", (FULL, AVERAGE, ONE_KIND)),
    ("dmd2", "t2v", (FULL, AVERAGE, ONE_KIND, ALONE)),
    ("dmd2", "t2v", (BF16, TWO_SAMPLES, ONE_KIND)),
    ("dmd2", "t2v", (BF16, "roles.teacher.weights=fp32", LONGER, ONE_KIND)),
    ("dmd2", "t2v", ("roles.student.lora={rank: 4}", "roles.critic.lora={}", TWO_MICRO_STEPS, ONE_KIND)),
    ("finetune", "t2v", (BF16, "roles.student.lora={rank: 4}", FULL, SAMPLED)),
    (
        "dmd2",
        "t2v",
        (
            "roles.student.recompute=selective",
            "roles.critic.recompute=full",
            "roles.critic.recompute_every=2",
            ONE_KIND,
        ),
    ),
]


@pytest.fixture(scope="session")
def index() -> PluginIndex:
    """The installed plugins."""
    return discover()


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny pipelines with weights."""
    root = tmp_path_factory.mktemp("wan")
    for variant in ("t2v", "a14b", "ti2v"):
        make_tiny_pipeline(root / variant, variant)
    return root


def run_yaml(folders: Path, method: str, variant: str) -> Path:
    """A run of a tiny pipeline, whose data are not there."""
    run: dict[str, Any] = {
        "recipe": {"family": "wan", "method": method},
        "roles": {name: {"path": str(folders / variant), "trainable": name != "teacher"} for name in ROLES[method]},
        "data": {"path": str(folders / "none"), "num_frames": 9, "num_height": 64, "num_width": 64},
        "training": {"max_train_steps": 20, "device": "cpu"},
        "output_dir": str(folders / "run"),
    }
    path = folders / f"{method}-{variant}.yaml"
    own = path.with_suffix(f".{os.getpid()}")  # several processes make and read it at once
    own.write_text(write_yaml(run), encoding="utf-8")
    return own.replace(path)


def planned(
    folders: Path, index: PluginIndex, method: str, variant: str, overrides: tuple[str, ...]
) -> tuple[Subject, Trial]:
    """Without weights."""
    with weightless():
        subject = subject_of(run_yaml(folders, method, variant), overrides, index, on_card=False)
        return subject, play(subject, print)


@pytest.mark.parametrize(("method", "variant", "overrides"), SETTINGS, ids=lambda value: str(value))
def test_a_planned_peak_is_within_5_percent_of_the_measured_one(
    folders: Path, index: PluginIndex, method: str, variant: str, overrides: tuple[str, ...]
) -> None:
    subject, trial = planned(folders, index, method, variant, overrides)
    measured = play(subject, print, hollow=False)
    for theirs, real in zip(trial.played, measured.played, strict=True):
        for phase, true in zip(theirs.phases, real.phases, strict=True):
            assert phase.name == true.name
            assert abs(phase.peak - true.peak) <= 0.05 * true.peak, f"{theirs.name}: {phase.name}"
            assert phase.work.flops == true.work.flops
    assert trial.checkpoint == measured.checkpoint
    assert trial.parameters == measured.parameters


def test_roles_that_step_alone_take_less_by_the_gradients_of_one(folders: Path, index: PluginIndex) -> None:
    """From the critic's backward pass on, in which its own come."""
    (_, together), (_, alone) = (
        planned(folders, index, "dmd2", "t2v", (FULL, ONE_KIND, *more)) for more in ((), (ALONE,))
    )
    students = 4 * together.parameters["student"][1]
    for theirs, ours in zip(together.played[1].phases[-2:], alone.played[1].phases[-2:], strict=True):
        assert theirs.name == ours.name
        assert abs(theirs.peak - ours.peak - students) <= 64, ours.name  # the scalars of a verdict more


@pytest.mark.parametrize(("method", "overrides"), [("finetune", (BF16,)), ("dmd2", (FULL,))])
def test_a_planned_peak_is_within_5_percent_of_what_the_allocator_gave(
    folders: Path, index: PluginIndex, method: str, overrides: tuple[str, ...]
) -> None:
    """The yardstick is torch's profiler, which hears of every allocation, those within kernels too, and knows no tensor."""
    subject, trial = planned(folders, index, method, "t2v", (*overrides, *LARGER, "training.max_train_steps=5"))
    stage = Stage(subject, MadeUpRows(subject, 4), Ledger(), hollow=False)
    resident = sum(size for owner, size in trial.at_rest.items() if owner != NOBODY)
    for played in trial.played[1:]:  # after the captions
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            stage.trainer.train_step(5 if "student" in played.name else 1)
        sizes = allocations(profiled)
        allocated = resident + max(accumulate(sizes))
        assert abs(played.peak.peak - allocated) <= 0.05 * allocated, played.name
        resident += sum(sizes)
    stage.close()


def allocations(profiled: profile) -> list[int]:
    """Bytes of each allocation, and below 0 of each that was given back, in their order."""
    events = sorted(profiled.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    sizes = [event.nbytes() for event in events if event.name() == "[memory]"]
    assert len(sizes) > 100
    return sizes


def test_loras_of_a_model_whose_weights_are_not_here_are_planned(tmp_path: Path, index: PluginIndex) -> None:
    folder = make_tiny_pipeline(tmp_path / "t2v", "t2v")
    overrides = ("roles.student.lora={rank: 4}", "roles.critic.lora={rank: 4}", ONE_KIND)
    _, whole = planned(tmp_path, index, "dmd2", "t2v", overrides)
    for weights in (folder / "transformer").glob("*.safetensors"):
        weights.unlink()
    _, without = planned(tmp_path, index, "dmd2", "t2v", overrides)
    assert without.parameters == whole.parameters
    assert without.peak.peak == whole.peak.peak
