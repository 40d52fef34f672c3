"""The shipped recipes of causal methods, at reduced size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.recipes import run_recipe, write_clips

from distill_core.errors import DataError
from distill_core.running.run_directory import RunDirectory


def rows(directory: RunDirectory) -> dict[str, float]:
    """How many evaluations a clip of each row of the comparison took."""
    table = json.loads((directory.comparison / "table.json").read_text())
    return {line["name"]: line["evaluations"] for line in table["lines"]}


@pytest.mark.slow
def test_teacher_forcing_then_consistency_from_its_checkpoint(tmp_path: Path) -> None:
    """Three frames: each is remembered but the last, under the caption and, where guided, without it."""
    data = f"data.path={write_clips(tmp_path / 'data')}"
    first = run_recipe("teacher-forcing", tmp_path / "first", data)
    assert rows(first) == {"student, 20 steps a frame": 2 * (3 * 20 + 2)}
    stages = [f"roles.{role}.checkpoint.run={first.root}" for role in ("student", "teacher")]
    second = run_recipe("causal-consistency", tmp_path / "second", data, *stages)
    assert rows(second) == {"student, 2 steps a frame": 3 * 2 + 2}


@pytest.mark.slow
def test_diffusion_forcing(tmp_path: Path) -> None:
    run = run_recipe("diffusion-forcing", tmp_path / "run", f"data.path={write_clips(tmp_path / 'data')}")
    assert list(rows(run)) == ["student, 20 steps a frame"]


@pytest.mark.slow
def test_causal_kd_needs_no_clips(tmp_path: Path) -> None:
    run = run_recipe("causal-kd", tmp_path / "run", steps=1)
    assert "student, 2 steps a frame" in rows(run)


def test_clips_of_one_block_are_refused_before_any_weight(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs clips of 4 latent frames or more, and the run trains on some of 3"):
        run_recipe(
            "teacher-forcing",
            tmp_path / "run",
            f"data.path={write_clips(tmp_path / 'data')}",
            "method_config.block=3",
        )
