"""The shapes recipes of AnyFlow at reduced size: the second stage starts from a checkpoint of the first."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipes import ROOT, figures, run_recipe, write_clips


@pytest.mark.slow
def test_the_shapes_recipes_train_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    data = f"data.path={write_clips(tmp_path / 'data')}"
    first = run_recipe("anyflow", tmp_path / "first", data, compare=False)
    second = run_recipe(
        "anyflow-on-policy",
        tmp_path / "second",
        data,
        f"roles.student.checkpoint.run={first.root}",
        compare=False,
    )
    assert [line["step"] for line in figures(second)] == [1, 2]
