"""The comparison at a run's end: which requests its rows make, what the table and the page hold, and when it is made anew."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.core.brightness import BRIGHTNESS
from tests.core.conftest import INDEX, ToyWorld

from distill_core.comparison import ComparedLine, ComparisonTable
from distill_core.comparison.compare import request_of
from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.config.sampled import ComparedRow
from distill_core.errors import ConfigError, DataError
from distill_core.plugins.index import PluginIndex
from distill_core.protocols import ValidationRequest
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.testing.toy_spec import TOY
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


# Rows by blocks, and of other lengths


def test_a_row_by_other_blocks_brings_its_own_window() -> None:
    own = replace(OWN, blocks=1, window=4, sink=1)
    assert request_of(ComparedRow(role="student"), own) == own
    assert request_of(ComparedRow(role="student", blocks=2), own) == replace(own, blocks=2, window=None, sink=0)
    assert request_of(ComparedRow(role="student", window=2), own) == replace(own, window=2)
    assert request_of(ComparedRow(role="student", sink=0), own) == replace(own, sink=0)


CAUSAL = {
    "short": {"role": "student"},
    "at once": {"role": "student", "blocks": 9},
    "long": {"role": "student", "num_frames": 17, "window": 2, "sink": 1},
}


def causal(world: ToyWorld, rows: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """A run of a causal method that compares rows; its clips have 9 frames."""
    settings = {"rows": rows, "max_prompts": 2}
    return world.mapping("diffusion-forcing", comparison=settings, method_config={"block": 1}, **sections)


def test_rows_by_blocks_tell_their_speed_and_may_be_longer_than_the_run_trains(world: ToyWorld) -> None:
    directory = world.train(causal(world, CAUSAL, metrics={"brightness": {}}, validation={"interval": 12}))
    lines = {line["name"]: line for line in table_of(directory.root)["lines"]}
    steps = 40
    assert [lines[name]["evaluations"] for name in CAUSAL] == [3 * steps + 2, steps, 5 * steps + 4]
    assert all(0 < line["first_block_seconds"] <= line["seconds_per_clip"] for line in lines.values())
    assert all(line["frames_per_second"] > 0 for line in lines.values())
    page = (directory.root / "comparison" / "index.html").read_text()
    assert "<th>s to first block</th><th>frames / s</th>" in page
    logged = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    (validated,) = [line for line in logged if "validation/seconds_per_clip" in line]
    assert 0 < validated["validation/first_block_seconds"] <= validated["validation/seconds_per_clip"]
    assert validated["validation/frames_per_second"] > 0


class OfNineFrames:
    """A metric that measures the run's own clips alone."""

    def __init__(self, options: object) -> None:
        pass

    def check(self, prompts: object, shape_FHW: tuple[int, int, int]) -> None:
        if shape_FHW[0] != 9:
            raise DataError(f"it takes clips of 9 frames, these have {shape_FHW[0]}")

    def measure(self, videos: object) -> dict[str, float]:
        return {"one": 1.0}


def test_a_metric_that_cannot_measure_a_rows_length_is_left_out_and_told(world: ToyWorld) -> None:
    nine = replace(BRIGHTNESS, name="nine", build="tests.core.test_comparison:OfNineFrames")
    mapping = causal(world, CAUSAL, metrics={"nine": {}, "brightness": {}})
    path = world.root / "run.yaml"
    path.write_text(write_yaml(mapping), encoding="utf-8")
    index = PluginIndex.of(models=[TOY], methods=list(INDEX.methods.values()), metrics=[BRIGHTNESS, nine])
    run = open_run(path, (), index)
    directory = RunDirectory(Path(run.config.output_dir))
    directory.claim(run.to_mapping())
    train(prepare(run), directory, [], Console(quiet=True))
    lines = {line["name"]: line["figures"] for line in table_of(directory.root)["lines"]}
    assert [("nine/one" in lines[name], "brightness/mean" in lines[name]) for name in CAUSAL] == [
        (True, True), (True, True), (False, True)
    ]  # fmt: skip
    assert "row 'long': it takes clips of 9 frames, these have 17" in directory.events.read_text()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"num_frames": 16}, r"comparison\.rows\.bad: num_frames: 16 is not 1 more than a multiple of 4; try 13"),
        ({"num_frames": 261}, r"comparison\.rows\.bad: its clips of 261 frames do not fit the model: .* 66 positions"),
        ({"role": "student", "blocks": 1, "sampler": "ode", "steps": 2}, None),
    ],
)
def test_a_row_of_frames_that_the_model_cannot_have_is_refused_before_training(
    world: ToyWorld, row: dict[str, Any], message: str | None
) -> None:
    mapping = causal(world, {"bad": {"role": "student", **row}})
    if message is None:
        world.train(mapping)
        return
    with pytest.raises(ConfigError, match=message):
        world.train(mapping)
    assert not list(world.root.glob("run/checkpoints/step-*"))
