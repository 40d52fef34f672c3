"""The shapes recipes of consistency and of its continuous form at reduced size."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipes import ROOT, figures, run_recipe, shapes_latents


@pytest.mark.parametrize("name", ["consistency", "scm"])
def test_a_shapes_recipe_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    data = shapes_latents(tmp_path / "data")
    directory = run_recipe(f"shapes/{name}.yaml", tmp_path / "run", f"data.path={data}")
    assert [line["step"] for line in figures(directory)] == [1, 2]
