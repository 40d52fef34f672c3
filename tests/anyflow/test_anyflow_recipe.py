"""The shapes recipes of AnyFlow at reduced size: the second stage starts from a checkpoint of the first."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipes import ROOT, figures, run_recipe, shapes_latents


@pytest.mark.slow
def test_the_shapes_recipes_train_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    data = f"data.path={shapes_latents(tmp_path / 'data')}"
    first = run_recipe("shapes/anyflow.yaml", tmp_path / "first", data)
    second = run_recipe(
        "shapes/anyflow-on-policy.yaml", tmp_path / "second", data, f"roles.student.checkpoint.run={first.root}"
    )
    assert [line["step"] for line in figures(second)] == [1, 2]
