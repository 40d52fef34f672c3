"""The shapes recipe of rCM at reduced size."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipes import ROOT, figures, run_recipe, write_clips


@pytest.mark.slow
def test_the_shapes_recipe_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    data = write_clips(tmp_path / "data")
    turns = "method_config.consistency_steps=1"
    directory = run_recipe("rcm", tmp_path / "run", f"data.path={data}", turns, steps=3, compare=False)
    assert [line["step"] for line in figures(directory)] == [1, 2, 3]
