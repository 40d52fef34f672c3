"""The recipe of the medium world's teacher at reduced size: its own commands, on a few clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.recipes import run_recipe
from tests.shapes.test_shapes_recipe import SHAPES, command


@pytest.mark.slow
def test_the_medium_recipe_draws_encodes_trains_and_is_judged(tmp_path: Path) -> None:
    clips, data = tmp_path / "clips", tmp_path / "data"
    command(SHAPES / "draw.py", "--output", clips, "--clips", 4, "--setting", "medium")
    command("-m", "distill_core", "data", "encode", clips, "--model", SHAPES / "teacher", "--output", data)
    run = run_recipe(
        "medium", tmp_path / "run", f"data.path={data}", "training.cpu_threads=1", "comparison.rows.20 steps.steps=1"
    )
    (line,) = json.loads((run.comparison / "table.json").read_text())["lines"]
    assert 0.0 <= line["figures"]["shapes/all_correct"] <= 1.0
