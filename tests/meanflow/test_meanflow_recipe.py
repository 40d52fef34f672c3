"""The shapes recipe of MeanFlow at reduced size."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipes import ROOT, figures, run_recipe, write_clips


@pytest.mark.slow
def test_the_shapes_recipe_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    data = write_clips(tmp_path / "data")
    directory = run_recipe("meanflow", tmp_path / "run", f"data.path={data}", compare=False)
    assert [line["step"] for line in figures(directory)] == [1, 2]
