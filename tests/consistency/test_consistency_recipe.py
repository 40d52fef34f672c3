"""The shapes recipes of consistency, its second stage and its continuous form, at reduced size."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipes import ROOT, figures, run_recipe, shapes_latents

from distill_core.errors import CheckpointError


@pytest.mark.slow
def test_the_recipe_of_continuous_consistency_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    directory = run_recipe("shapes/scm.yaml", tmp_path / "run", f"data.path={shapes_latents(tmp_path / 'data')}")
    assert [line["step"] for line in figures(directory)] == [1, 2]


@pytest.mark.slow
def test_the_second_stage_goes_on_from_the_first_ones_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    data = f"data.path={shapes_latents(tmp_path / 'data')}"
    first = run_recipe("shapes/consistency.yaml", tmp_path / "first", data)
    stages = [f"roles.{role}.checkpoint.run={first.root}" for role in ("student", "first_stage")]
    second = run_recipe("shapes/tcm.yaml", tmp_path / "second", data, *stages)
    assert [line["step"] for line in figures(second)] == [1, 2]


def test_a_second_stage_refuses_the_checkpoint_of_another_method_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    data = f"data.path={shapes_latents(tmp_path / 'data')}"
    other = run_recipe("shapes/meanflow.yaml", tmp_path / "other", data)
    stages = [f"roles.{role}.checkpoint.run={other.root}" for role in ("student", "first_stage")]
    with pytest.raises(CheckpointError) as refusal:
        run_recipe("shapes/tcm.yaml", tmp_path / "second", data, *stages)
    said = str(refusal.value)
    assert "roles.student.checkpoint: " in said
    assert "roles.first_stage.checkpoint: " in said
    assert "was trained by method 'meanflow', and this role starts from what consistency or scm made" in said
