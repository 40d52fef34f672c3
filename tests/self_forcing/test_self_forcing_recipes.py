"""The shipped recipes of CausVid and Self-Forcing, at reduced size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.recipes import run_recipe, write_clips

from distill_core.running.run_directory import RunDirectory

ALONE = "roles.student.checkpoint=null"
"""Not from the checkpoint of teacher-forcing's run."""


def evaluations(directory: RunDirectory) -> dict[str, float]:
    table = json.loads((directory.comparison / "table.json").read_text())
    return {line["name"]: line["evaluations"] for line in table["lines"]}


@pytest.mark.slow
def test_self_forcing_streams_from_captions_alone_and_is_compared_by_blocks(tmp_path: Path) -> None:
    found = evaluations(run_recipe("self-forcing", tmp_path / "run", ALONE))
    assert found["student, 2 steps a frame"] == 3 * 2 + 2
    assert found["teacher, 20 steps"] == 40


@pytest.mark.slow
def test_on_the_medium_world_teacher_forcing_then_self_forcing_stream_five_latent_frames(tmp_path: Path) -> None:
    data = f"data.path={write_clips(tmp_path / 'data', frames=17, size=64)}"
    few = ("comparison.max_prompts=1", "comparison.rows.student, 20 steps a frame.steps=2")
    first = run_recipe("medium-teacher-forcing", tmp_path / "first", data, *few)
    assert evaluations(first) == {"student, 20 steps a frame": 2 * (5 * 2 + 4)}
    start = f"roles.student.checkpoint.run={first.root}"
    second = run_recipe("medium-self-forcing", tmp_path / "second", start, "comparison.max_prompts=1")
    assert list(evaluations(second).values()) == [40, 5 * 2 + 4, 9 * 2 + 8, 17 * 2 + 16]


@pytest.mark.slow
def test_causvid_starts_from_teacher_forcing(tmp_path: Path) -> None:
    data = f"data.path={write_clips(tmp_path / 'data')}"
    first = run_recipe("teacher-forcing", tmp_path / "first", data, compare=False)
    found = evaluations(run_recipe("causvid", tmp_path / "run", data, f"roles.student.checkpoint.run={first.root}"))
    assert found["student, 2 steps a frame"] == 3 * 2 + 2


@pytest.mark.slow
def test_streaming_long_tuning_goes_on_from_self_forcing_and_is_compared_over_longer_clips(tmp_path: Path) -> None:
    first = run_recipe("self-forcing", tmp_path / "first", ALONE, compare=False)
    stages = [f"roles.{role}.checkpoint.run={first.root}" for role in ("student", "critic")]
    run = run_recipe("streaming-long-tuning", tmp_path / "run", *stages, steps=4)
    found = evaluations(run)
    assert list(found.values()) == [3 * 2 + 2, 5 * 2 + 4, 9 * 2 + 8]
    table = json.loads((run.comparison / "table.json").read_text())
    figures = [line["figures"] for line in table["lines"]]
    assert ["shapes/all_correct" in each for each in figures] == [True, False, False], "its clips have nine frames"
    assert [each["drift/frames"] for each in figures] == [9, 17, 33]
