"""The shapes recipe of rCM at reduced size."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipes import ROOT, figures, run_recipe, shapes_latents


@pytest.mark.slow
def test_the_shapes_recipe_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    data = shapes_latents(tmp_path / "data")
    turns = ("training.max_train_steps=3", "method_config.consistency_steps=1")
    directory = run_recipe("shapes/rcm.yaml", tmp_path / "run", f"data.path={data}", *turns)
    assert [line["step"] for line in figures(directory)] == [1, 2, 3]
