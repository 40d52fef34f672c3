"""Roles of two families of one latent space: a Cosmos-Predict2 student under a Wan teacher, with a text encoder each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.commands.conftest import Command, distill  # noqa: F401  the fixture
from tests.families.conftest import Family
from tests.families.test_family_runs import weights

from distill_core.config.document import write_yaml
from distill_model_wan.testing import make_tiny_pipeline

WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path, family: Family, data: Path) -> WriteRun:
    """``write_run("once")``: DMD2 of a student and a critic of the family's, under a Wan."""
    wan = make_tiny_pipeline(tmp_path / "wan", text_length=24)

    def write(name: str, **sections: Mapping[str, Any]) -> Path:
        roles: dict[str, dict[str, object]] = {
            "student": {"path": str(family.folder), "trainable": True},
            "teacher": {"path": str(wan), "family": "wan", "trainable": False},
            "critic": {"path": str(family.folder), "trainable": True},
        }
        run = {
            "recipe": {"family": family.name, "method": "dmd2"},
            "roles": roles,
            "data": {"path": str(data)},
            "method_config": {
                "dmd_denoising_steps": [1000, 500],
                "generator_update_interval": 1,
                "rollout_move": "ode",
            },
            "training": {"max_train_steps": 2, "train_batch_size": 2, "device": "cpu", "learning_rate": 1.0e-3},
            "output_dir": str(tmp_path / name),
            **sections,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(write_yaml(run), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("family", ["cosmos2"], indirect=True)
def test_a_student_of_one_family_under_a_teacher_of_another_trains_and_goes_on_bit_for_bit(
    distill: Command,  # noqa: F811
    write_run: WriteRun,
    tmp_path: Path,
) -> None:
    once, twice = write_run("once"), write_run("twice", checkpoint={"interval": 1})
    trained = distill("run", once)
    assert trained.code == 0, trained.err
    assert distill("run", twice, "training.max_train_steps=1").code == 0
    assert distill("run", twice, "checkpoint.resume=changed").code == 0
    assert weights(tmp_path / "twice", 2) == weights(tmp_path / "once", 2) != {}


@pytest.mark.parametrize("family", ["flux"], indirect=True)
def test_a_teacher_of_another_latent_space_is_refused_with_both_numbers(
    distill: Command,  # noqa: F811
    write_run: WriteRun,
) -> None:
    refused = distill("run", write_run("run"), "--dry-run")
    assert refused.code == 2
    assert "does not share the space of role 'student': channels 16 against 4" in refused.err


@pytest.mark.parametrize("family", ["cosmos2"], indirect=True)
def test_autoencoders_of_equal_statistics_and_other_weights_are_a_note(
    distill: Command,  # noqa: F811
    write_run: WriteRun,
    family: Family,
    tmp_path: Path,
) -> None:
    run = write_run("run")
    said = "teacher and student have autoencoders of equal statistics and other weights"
    assert said in distill("run", run, "--dry-run").err
    shutil.rmtree(tmp_path / "wan" / "vae")
    shutil.copytree(family.folder / "vae", tmp_path / "wan" / "vae")
    assert said not in distill("run", run, "--dry-run").err
