"""``distill verify-resume``: that it finds a run exact which is, and names the first state of one which is not."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.conftest import INDEX, ToyWorld

from distill_core.cli import main
from distill_core.config.document import write_yaml
from distill_core.errors import ConfigError
from distill_core.finished import verify_resume as work
from distill_core.finished.verify_resume import Verdict
from distill_core.running.rehearsal import rehearse
from distill_core.training.state import TrainingState
from distill_core.training.trainer import DistillTrainer


def here(path: Path, until: int, overrides: Sequence[str]) -> None:
    """In this process, where the toy plugins are."""
    rehearse(path, until, overrides, INDEX)


def written(world: ToyWorld, method: str = "dmd2") -> Path:
    run: dict[str, Any] = world.mapping(
        method,
        training={"lr_scheduler": "cosine", "gradient_accumulation_steps": 2},
        validation={"interval": 1},
        tracking={"trackers": ["tensorboard"], "log_interval": 3},
    )
    run["roles"]["student"]["ema"] = {"decay": 0.9}
    path = world.root / "run.yaml"
    path.write_text(write_yaml(run))
    return path


def verified(world: ToyWorld) -> Verdict:
    return work.verify_resume(written(world), 3, (), lambda _: None, here)


def test_a_run_that_goes_on_exactly_is_found_to(world: ToyWorld) -> None:
    before = set(world.root.iterdir())
    verdict = verified(world)
    assert verdict.difference is None
    assert verdict.tensors > 20
    assert set(world.root.iterdir()) - before == {world.root / "run.yaml"}, "nothing is left behind"


def test_a_state_that_a_resume_loses_is_named(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moments of AdamW are not put back."""
    load = TrainingState.load_numbers

    def forgetful(state: TrainingState, numbers: Mapping[str, Any]) -> None:
        load(state, numbers)
        for name, tensor in state.tensors().items():
            if name.endswith("exp_avg"):
                tensor.zero_()

    monkeypatch.setattr(TrainingState, "load_numbers", forgetful)
    verdict = verified(world)
    assert verdict.difference is not None
    assert verdict.difference.startswith("after step 6: roles.student.modules.denoiser.layers.0.weight (by up to")
    assert "no checkpoint holds" in verdict.cause


def test_a_position_that_a_resume_loses_is_named(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    load = TrainingState.load_numbers

    def forgetful(state: TrainingState, numbers: Mapping[str, Any]) -> None:
        load(state, {**numbers, "updates": dict.fromkeys(numbers["updates"], 0)})

    monkeypatch.setattr(TrainingState, "load_numbers", forgetful)
    difference = verified(world).difference
    assert difference is not None
    assert (
        "after step 6: updates: {'student': 1, 'critic': 6} without a stop, {'student': 1, 'critic': 3} with"
        in difference
    )


def test_a_machine_that_computes_a_step_differently_each_time_is_told_from_a_resume(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step, count = DistillTrainer.train_step, iter(range(100))

    def unsteady(trainer: DistillTrainer, step: int) -> None:
        train_step(trainer, step)
        with torch.no_grad():
            next(trainer.state.roles["critic"].container.parameters()).add_(1e-6 * next(count))

    monkeypatch.setattr(DistillTrainer, "train_step", unsteady)
    verdict = verified(world)
    assert verdict.difference is not None
    assert verdict.difference.startswith("after step 3: roles.critic")
    assert "cudnn" in verdict.cause


def test_a_run_that_is_too_short_is_refused(world: ToyWorld) -> None:
    with pytest.raises(ConfigError, match=r"--steps: 2 · 7 steps are more than the run's 12"):
        work.verify_resume(written(world), 7, (), lambda _: None, here)


def test_the_command_says_equal_and_leaves_by_0_or_names_the_difference_and_leaves_by_1(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(world)
    monkeypatch.setattr(work, "in_a_process", here)
    with pytest.raises(SystemExit) as left:
        main(["verify-resume", str(path), "--steps", "1", "training.seed=4", "training.seed=5"])
    assert not left.value.code
    captured = capsys.readouterr()
    assert "1 steps, a resume and 1 more against 2: " in captured.out
    assert "note: override 'training.seed=4' is undone by override 'training.seed=5'" in captured.err
    monkeypatch.setattr(work, "verify_resume", lambda *_: Verdict(1, 9, "after step 2: x", "because"))
    with pytest.raises(SystemExit) as left:
        main(["verify-resume", str(path), "--json"])
    assert left.value.code == 1
    assert json.loads(capsys.readouterr().out)["difference"] == "after step 2: x"


def test_what_a_killed_one_left_is_swept_and_what_a_living_one_works_in_is_not(tmp_path: Path) -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    kept = [tmp_path / f".verify-resume-{os.getpid()}-abc", tmp_path / ".verify-resume-mine", tmp_path / "run"]
    for folder in (tmp_path / f".verify-resume-{done.pid}-abc", *kept):
        (folder / "whole").mkdir(parents=True)
    work.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


@pytest.mark.slow
def test_the_command_verifies_the_shipped_recipe_in_processes_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Path(__file__).parents[2] / "examples" / "shapes" / "dmd2.yaml"
    with pytest.raises(SystemExit) as left:
        main(["verify-resume", str(recipe), "--steps", "2", f"output_dir={tmp_path}/run"])
    assert not left.value.code, capsys.readouterr()
    assert "equal to the bit" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
