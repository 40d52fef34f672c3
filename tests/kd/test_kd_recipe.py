"""The shapes recipe of knowledge distillation at reduced size: paths made by the command, then a run on them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.data.data_command import run as command
from tests.recipes import ROOT, figures, run_recipe

from distill_core.data.reading.files import read_facts
from distill_core.data.reading.made_with import recorded
from distill_core.errors import DataError


def test_the_shapes_recipe_makes_its_paths_and_trains_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    paths, steps = tmp_path / "paths", "method_config.teacher_steps=1"
    recipe = ROOT / "examples" / "shapes" / "kd.yaml"
    command("trajectories", recipe, "--source", ROOT / "examples/shapes/prompts", f"data.path={paths}", steps)
    found = recorded(read_facts(next(paths.glob("*.parquet")), paths).metadata)["trajectory"]
    assert (found["flow_shift"], found["guidance_scale"], found["teacher_steps"]) == (1.0, 2.0, 1)
    directory = run_recipe("kd", tmp_path / "run", f"data.path={paths}", steps, compare=False)
    assert [line["step"] for line in figures(directory)] == [1, 2]
    with pytest.raises(DataError, match=r"made otherwise than this run asks \(flow_shift 1.0, not 3.0\)"):
        run_recipe(
            "kd",
            tmp_path / "other",
            f"data.path={paths}",
            steps,
            "pipeline_config.flow_shift=3",
            compare=False,
        )
