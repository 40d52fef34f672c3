"""What is planned without weights, against what the same run takes with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill_core.config.document import write_yaml
from distill_core.planning.plan import Plan
from distill_core.planning.subject import Subject, subject_of
from distill_core.planning.trial import Trial, play
from distill_core.plugins.discovery import discover
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.weightless import weightless
from distill_model_wan.testing import make_tiny_pipeline

ROLES = {"finetune": ("student",), "dmd2": ("student", "teacher", "critic")}
FULL = "training.enable_gradient_checkpointing_type=full"
BF16 = "training.precision=bf16"
TWO_MICRO_STEPS = "training.gradient_accumulation_steps=2"
TWO_SAMPLES = "training.train_batch_size=2"
AVERAGE = "roles.student.ema.decay=0.9"
SAMPLED = "validation.interval=10"
LONGER = "data.num_frames=17"

SETTINGS: list[tuple[str, str, tuple[str, ...]]] = [
    ("finetune", "t2v", ()),
    ("finetune", "t2v", (FULL,)),
    ("finetune", "t2v", (BF16, FULL)),
    ("finetune", "t2v", (TWO_MICRO_STEPS, AVERAGE)),
    ("finetune", "t2v", (TWO_SAMPLES, LONGER)),
    ("finetune", "a14b", (BF16,)),
    ("finetune", "ti2v", (FULL, AVERAGE)),
    ("dmd2", "t2v", ()),
    ("dmd2", "t2v", (FULL, AVERAGE)),
    ("dmd2", "t2v", (BF16, TWO_SAMPLES)),
    ("dmd2", "t2v", (TWO_MICRO_STEPS, FULL)),
    ("dmd2", "t2v", (BF16, "roles.teacher.weights=fp32", LONGER)),
    ("dmd2", "ti2v", (BF16, FULL, SAMPLED)),
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
    path.write_text(write_yaml(run), encoding="utf-8")
    return path


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
    assert Plan(subject, trial).peak == trial.peak.peak
