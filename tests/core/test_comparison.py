"""The comparison at a run's end: which requests its rows make, what the table and the page hold, and when it is made anew."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from tests.core.conftest import ToyWorld

from distill_core.comparison import ComparedLine, ComparisonTable
from distill_core.comparison.compare import request_of
from distill_core.config.schema import ComparedRow
from distill_core.errors import ConfigError, DataError
from distill_core.protocols import ValidationRequest
from distill_core.running.preparation import prepare
from distill_core.training.roles import RoleHandle
from distill_core.video.reading import read_video

OWN = ValidationRequest("student", sampler="sde", timesteps=(1000.0, 500.0), guidance_scale=1.0)

ROWS = {
    "teacher <20>": {"role": "teacher", "steps": 3, "guidance_scale": 2.0},
    "student": {"role": "student"},
}


def compared(world: ToyWorld, **comparison: Any) -> dict[str, Any]:
    """A DMD2 run that compares teacher and student."""
    settings = {"rows": ROWS, "clips_per_prompt": 2, "max_prompts": 2, **comparison}
    return world.mapping("dmd2", comparison=settings, metrics={"brightness": {}})


def table_of(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "comparison" / "table.json").read_text())
    return content


def test_a_row_samples_as_the_method_does_where_it_says_nothing() -> None:
    assert request_of(ComparedRow(role="student"), OWN) == OWN


def test_a_row_of_another_role_takes_nothing_from_the_method() -> None:
    assert request_of(ComparedRow(role="teacher"), OWN) == ValidationRequest("teacher")


def test_what_a_row_says_replaces_what_the_method_does() -> None:
    row = ComparedRow(role="student", steps=8, guidance_scale=3.0, sampler="ode")
    assert request_of(row, OWN) == ValidationRequest("student", sampler="ode", steps=8, guidance_scale=3.0)


def test_the_table_counts_evaluations_and_holds_the_metrics_figures(world: ToyWorld) -> None:
    directory = world.train(compared(world))
    lines = {line["name"]: line for line in table_of(directory.root)["lines"]}
    assert list(lines) == list(ROWS)
    assert lines["teacher <20>"]["evaluations"] == 3  # of 3 steps, as the toy sampler counts
    assert lines["student"]["evaluations"] == 4  # DMD2's default: 1000, 750, 500, 250
    assert all(line["clips"] == 4 and line["seconds_per_clip"] > 0 for line in lines.values())
    assert all(line["figures"]["brightness/clips"] == 4 for line in lines.values())
    logged = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    assert any("comparison/student/brightness/mean" in line for line in logged)


def test_the_page_needs_no_other_file_and_its_clips_decode(world: ToyWorld, tmp_path: Path) -> None:
    directory = world.train(compared(world, page_clips=3))
    page = (directory.root / "comparison" / "index.html").read_text()
    assert not re.search(r"(src|href)=['\"](?!data:)", page)
    assert "<20>" not in page
    assert "teacher &lt;20&gt;" in page
    clips = re.findall(r'src="data:video/mp4;base64,([^"]+)"', page)
    assert len(clips) == 2 * 3
    file = tmp_path / "clip.mp4"
    file.write_bytes(b64decode(clips[0]))
    assert read_video(file).frames.shape == (9, 16, 16, 3)


def test_the_page_shows_clips_from_all_over_the_prompts(world: ToyWorld) -> None:
    directory = world.train(compared(world, page_clips=2))
    labels = re.findall(r'aria-label="([^"]+), seed (\d)"', (directory.root / "comparison" / "index.html").read_text())
    (first, second) = dict.fromkeys(prompt for prompt, _ in labels)
    assert labels == [(first, "0")] * 2 + [(second, "2")] * 2


def test_the_table_has_a_column_for_what_some_row_has_and_none_for_what_none_has() -> None:
    def line(name: str, **figures: float) -> ComparedLine:
        found = {f"shapes/{key}": value for key, value in figures.items()}
        return ComparedLine(name, "student", clips=4, evaluations=1, seconds_per_clip=0.1, figures=found)

    headline = ("shapes/all_correct", "shapes/held_out_correct", "shapes/coverage")
    table = ComparisonTable(7, {}, headline, (line("a", all_correct=1.0), line("b", all_correct=0.5, coverage=0.25)))
    assert table.headers == ("", "evaluations", "s / clip", "all correct", "coverage")
    assert table.cells == [("a", "1", "0.100", "1.000", "-"), ("b", "1", "0.100", "0.500", "0.250")]


def test_a_finished_comparison_is_shown_again_and_made_anew_only_for_other_settings(world: ToyWorld) -> None:
    run = compared(world)
    page = world.train(run).root / "comparison" / "index.html"
    made = page.stat().st_mtime_ns
    directory = world.train(run)
    assert page.stat().st_mtime_ns == made
    logged = [
        line for line in directory.metrics.read_text().splitlines() if "comparison/student/brightness/mean" in line
    ]
    assert len(logged) == 1
    world.train(compared(world, first_seed=5))
    assert page.stat().st_mtime_ns > made


def test_each_clip_has_a_noise_of_its_own_and_every_row_the_same_ones(world: ToyWorld) -> None:
    clips = world.train(compared(world, first_seed=7)).root / "comparison" / "clips"
    seeds = {
        folder.name: sorted(path.stem.split("-seed")[1] for path in folder.iterdir()) for folder in clips.iterdir()
    }
    assert seeds == {"teacher-20": ["10", "7", "8", "9"], "student": ["10", "7", "8", "9"]}


def test_prompts_of_a_validation_share_their_seeds() -> None:
    request = ValidationRequest("student", seeds=(4, 9))
    assert [request.seeds_of(index) for index in range(3)] == [(4, 9)] * 3
    assert [ValidationRequest("student", seeds=(4, 5), noise="own").seeds_of(index) for index in range(3)] == [
        (4, 5),
        (6, 7),
        (8, 9),
    ]


def test_comparing_changes_no_weight(world: ToyWorld) -> None:
    plain = world.train(world.mapping("dmd2") | {"output_dir": str(world.root / "plain")})
    other = world.train(compared(world) | {"output_dir": str(world.root / "compared")})
    name = "checkpoints/step-00000012/dcp"
    files = sorted(path.name for path in (plain.root / name).glob("*.distcp"))
    assert files
    for file in files:
        assert (plain.root / name / file).read_bytes() == (other.root / name / file).read_bytes()


def test_a_row_of_a_role_that_the_run_lacks_is_refused_with_its_line(world: ToyWorld) -> None:
    with pytest.raises(ConfigError, match=r"run.yaml:\d+: comparison.rows.x.role: this run has no role 'judge'"):
        world.resolved(compared(world, rows={"x": {"role": "judge"}}))


def test_a_metric_that_cannot_measure_the_run_is_refused_before_anything_is_loaded(world: ToyWorld) -> None:
    run = compared(world) | {"metrics": {"brightness": {"tallest": 8}}}
    with pytest.raises(DataError, match="16 rows are too many"):
        prepare(world.resolved(run))


def test_a_metric_that_breaks_is_a_warning_and_ends_no_run(world: ToyWorld) -> None:
    directory = world.train(compared(world) | {"metrics": {"brightness": {"broken": True}}})
    assert "metric_failed" in directory.events.read_text()
    assert table_of(directory.root)["lines"][0]["figures"] == {}


def test_an_unknown_metric_and_an_unknown_option_of_one_are_answered(world: ToyWorld) -> None:
    with pytest.raises(ConfigError, match=r"There is no metric 'britness'.*Did you mean 'brightness'"):
        world.resolved(world.mapping("dmd2") | {"metrics": {"britness": {}}})
    with pytest.raises(ConfigError, match=r"metrics.brightness.talest: unknown key; did you mean `tallest`"):
        world.resolved(world.mapping("dmd2") | {"metrics": {"brightness": {"talest": 3}}})


def test_validation_logs_the_metrics(world: ToyWorld) -> None:
    run = world.mapping("dmd2", validation={"interval": 6, "max_prompts": 2}, metrics={"brightness": {}})
    logged = [json.loads(line) for line in world.train(run).metrics.read_text().splitlines()]
    assert [line["step"] for line in logged if "validation/brightness/mean" in line] == [6, 12]


def test_a_role_is_compared_by_its_averaged_weights(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled: list[str] = []
    original = RoleHandle.averaged

    def averaged(role: RoleHandle) -> Any:
        sampled.append(role.name)
        return original(role)

    monkeypatch.setattr(RoleHandle, "averaged", averaged)
    world.train(compared(world))
    assert sampled == ["teacher", "student"]
