"""The shapes recipes of consistency, its second stage and its continuous form, at reduced size."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipes import ROOT, figures, run_recipe, write_clips

from distill_core.errors import CheckpointError


@pytest.mark.slow
def test_the_recipe_of_continuous_consistency_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    directory = run_recipe("scm", tmp_path / "run", f"data.path={write_clips(tmp_path / 'data')}", compare=False)
    assert [line["step"] for line in figures(directory)] == [1, 2]


@pytest.mark.slow
def test_the_second_stage_goes_on_from_the_first_ones_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    data = f"data.path={write_clips(tmp_path / 'data')}"
    first = run_recipe("consistency", tmp_path / "first", data, compare=False)
    stages = [f"roles.{role}.checkpoint.run={first.root}" for role in ("student", "first_stage")]
    second = run_recipe("tcm", tmp_path / "second", data, *stages, compare=False)
    assert [line["step"] for line in figures(second)] == [1, 2]


def test_a_second_stage_refuses_the_checkpoint_of_another_method_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    data = f"data.path={write_clips(tmp_path / 'data')}"
    other = run_recipe("meanflow", tmp_path / "other", data, compare=False)
    stages = [f"roles.{role}.checkpoint.run={other.root}" for role in ("student", "first_stage")]
    with pytest.raises(CheckpointError) as refusal:
        run_recipe("tcm", tmp_path / "second", data, *stages, compare=False)
    said = str(refusal.value)
    assert "roles.student.checkpoint: " in said
    assert "roles.first_stage.checkpoint: " in said
    assert "was trained by method 'meanflow', and this role starts from what consistency or scm made" in said
