"""benchmarks/zoo.py: the order of its work, how a recipe is shortened, what it costs, and the table; two students by its own command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from benchmarks.zoo import make_experts, prepare_data
from benchmarks.zoo_jobs import JOBS, SHOWN, Job, Task, tasks
from benchmarks.zoo_pages import pages, renewed
from benchmarks.zoo_table import FIGURES, cost, table
from benchmarks.zoo_work import Budget, Result, results_file, rows_of, shortened, steps_before
from tests.recipes import write_clips

from distill_core.config.resolve import open_run
from distill_core.plugins.discovery import discover

ROOT = Path(__file__).resolve().parents[2]


def result(job: str, seed: int, correct: float, **changes: object) -> Result:
    figures = dict.fromkeys(FIGURES.values(), 0.5) | {FIGURES["all correct"]: correct}
    made = asdict(Result(job, seed, "recipe", "student, 1 step", 48, 1.0, 100, 60.0, figures)) | changes
    return Result(**made)


def test_a_student_comes_after_those_that_it_begins_at_in_every_seed() -> None:
    seen: set[tuple[str, int]] = set()
    for task in tasks([0, 1]):
        seen.add((task.job.name, task.seed))
        if task.seed == 0:
            assert all((origin, 0) in seen for origin in task.job.after), task.key
    assert len(seen) == 2 * len(JOBS)


def test_a_chosen_student_brings_its_origins() -> None:
    chosen = [task.job.name for task in tasks([0], ["streaming-long-tuning after self-forcing"])]
    second = "self-forcing after teacher-forcing"
    assert chosen == ["teacher-forcing", second, "streaming-long-tuning after self-forcing"]


@pytest.mark.parametrize("job", [job for job in JOBS if job.scaled], ids=lambda job: job.name)
def test_every_recipe_has_what_its_job_says_of_it(job: Job) -> None:
    own = open_run(ROOT / job.path, job.alone(ROOT), discover())
    assert own.config.comparison is not None
    assert any(row.role != "teacher" for row in own.config.comparison.rows.values())
    changes = shortened(own, job.scaled, own.config.training.max_train_steps)
    again = open_run(ROOT / job.path, [*job.alone(ROOT), *changes], discover())
    assert again.config.method_config == own.config.method_config  # at the recipe's own length nothing is in proportion
    assert again.config.training.lr_warmup_steps == own.config.training.lr_warmup_steps


def test_a_shorter_run_counts_its_stages_in_proportion() -> None:
    (job,) = [job for job in JOBS if job.name == "consistency"]
    own = open_run(ROOT / job.path, job.alone(ROOT), discover())
    changes = shortened(own, job.scaled, 120)
    assert "training.max_train_steps=120" in changes
    assert "method_config.stage_steps=20" in changes
    assert "training.lr_warmup_steps=2" in changes


def test_the_table_tells_means_and_deviations_and_what_a_chain_cost_from_the_teacher_on(tmp_path: Path) -> None:
    chain = "dmd2, 1 step after kd"
    every = [result("kd", 0, 0.8), result("kd", 1, 0.9), result(chain, 0, 0.97, steps=50, seconds=30.0)]
    results_file(tmp_path).write_text("".join(json.dumps(asdict(one)) + "\n" for one in every))
    (tmp_path / "flops.json").write_text(json.dumps({"kd": 0.01, chain: 0.02}))
    lines = [
        line.split(" | ") for line in table(tmp_path).splitlines() if line.startswith("| kd") or "after kd" in line
    ]
    after, kd = lines
    assert kd[3] == ".850 ± .071"
    assert kd[-6:] == ["60", "1.0", "100", "recipe", "48", "2 |"]
    assert after[3] == ".970"
    assert after[-6:] == ["90", "2.0", "50", "recipe", "48", "1 |"]


def test_what_nothing_was_trained_of_has_no_cost_in_the_table(tmp_path: Path) -> None:
    results_file(tmp_path).write_text(json.dumps(asdict(result("anyflow", 0, 0.2, row="teacher, 1 step"))) + "\n")
    (line,) = [line for line in table(tmp_path).splitlines() if "teacher, 1 step" in line]
    assert line.startswith("| none | ")
    assert line.endswith("| – | – | – | – | 48 | 1 |")


def test_a_chain_cost_what_its_own_origin_did_where_that_was_made_twice() -> None:
    chain = result("dmd2, 1 step after kd", 0, 0.97, seconds=30.0)
    every = [result("kd", 0, 0.8, seconds=60.0), chain, result("kd", 0, 0.9, seconds=120.0)]
    again = result("dmd2, 1 step after kd", 0, 0.98, seconds=40.0)
    assert cost(chain, every, {}).seconds == 90.0
    assert cost(again, [*every, again], {}).seconds == 160.0


def test_what_was_measured_is_what_the_pages_say() -> None:
    printed, tables = table(ROOT / "benchmarks" / "zoo_results"), 0
    for page in pages():
        assert renewed(page, printed) == page.read_text(encoding="utf-8"), (
            f"{page}: python -m benchmarks.zoo --folder benchmarks/zoo_results --pages"
        )
        tables += page.read_text(encoding="utf-8").count(printed.splitlines()[0])
    assert tables == 14  # docs/methods.md, and each method's package but finetune's


def test_a_page_keeps_its_own_students_and_takes_their_figures(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("A.\n\n| student | sampled |\n| --- | --- |\n| kd | old |\n| none | before |\n\nB.\n")
    head = "| student | sampled |\n| --- | --- |\n"
    printed = f"{head}| none | teacher |\n| none | before |\n| kd | 1 step |\n| kd | 2 steps |\n| ladd | 1 step |"
    assert renewed(page, printed) == f"A.\n\n{head}| none | before |\n| kd | 1 step |\n| kd | 2 steps |\n\nB.\n"


def test_seconds_are_those_of_the_first_seed_and_clips_of_all(tmp_path: Path) -> None:
    every = [
        result("kd", 0, 0.8),
        result("kd", 1, 0.9, seconds=400.0, clips=96),
        result("kd", 1, 0.9, seconds=400.0, row="4 steps"),
    ]
    results_file(tmp_path).write_text("".join(json.dumps(asdict(one)) + "\n" for one in every))
    first, second = [line.split(" | ") for line in table(tmp_path).splitlines() if line.startswith("| kd")]
    assert (first[10], first[14]) == ("60", "48 to 96")
    assert second[10] == "60"


def test_every_student_has_its_place_in_the_table() -> None:
    assert sorted(SHOWN) == sorted(job.name for job in JOBS)


def test_a_cost_that_was_not_counted_is_not_made_up() -> None:
    assert cost(result("kd", 0, 0.8), [], {}).tflop is None


def test_the_teacher_of_two_experts_is_one_that_phased_dmd_takes(tmp_path: Path) -> None:
    make_experts(tmp_path / "experts")
    (job,) = [job for job in JOBS if job.experts]
    own = open_run(ROOT / job.path, job.changed(tmp_path, 0), discover())
    assert {role: facts.experts for role, facts in own.facts.items()} == dict.fromkeys(
        ("student", "teacher", "critic"), ("transformer", "transformer_2")
    )
    assert own.facts["teacher"].boundary == 500.0


def test_a_budget_names_itself() -> None:
    assert [str(Budget()), str(Budget(seconds=200.0)), str(Budget(tflop=5.0))] == ["recipe", "200 s", "5 TFLOP"]


def test_nothing_is_prepared_that_no_student_needs(tmp_path: Path) -> None:
    needs = {job.name: set(job.needs) for job in JOBS}
    assert needs["dmd2, varied"] == set()
    assert needs["kd"] == {"paths"}
    assert needs["phased-dmd, two experts"] == {"experts"}
    assert needs["ladd"] == {"train"}
    prepare_data(tmp_path, frozenset(), 48, 1)
    assert list(tmp_path.iterdir()) == []


def test_what_another_run_samples_is_not_sampled_again() -> None:
    (varied,) = [job for job in JOBS if job.name == "dmd2, varied"]
    (rewarded,) = [job for job in JOBS if job.name == "reward-gradient after dmd2, varied"]
    own = {job: open_run(ROOT / job.path, job.alone(ROOT), discover()) for job in (varied, rewarded)}
    assert list(rows_of(Task(varied, 0), own[varied], teacher=False)) == ["student, 1 step"]
    assert list(rows_of(Task(varied, 0), own[varied], teacher=True)) == [
        "teacher, 20 steps",
        "teacher, 1 step",
        "student, 1 step",
    ]
    assert list(rows_of(Task(rewarded, 0), own[rewarded], teacher=True)) == ["student, 1 step"]


def test_a_teacher_judged_by_more_clips_has_a_row_of_its_own(tmp_path: Path) -> None:
    row = "teacher, 20 steps"
    every = [result("anyflow", 0, 0.9, row=row), result("dmd2, varied", 0, 0.8, row=row, clips=96)]
    results_file(tmp_path).write_text("".join(json.dumps(asdict(one)) + "\n" for one in every))
    lines = [line.split(" | ") for line in table(tmp_path).splitlines() if row in line]
    assert [(line[3], line[14]) for line in lines] == [(".900", "48"), (".800", "96")]


@pytest.mark.slow
def test_the_command_makes_a_chain_of_two_students_prints_the_table_and_does_nothing_twice(tmp_path: Path) -> None:
    write_clips(tmp_path / "train")
    last = "anyflow-on-policy after anyflow"
    command = [sys.executable, "-m", "benchmarks.zoo", "--folder", str(tmp_path), "--seeds", "0", "--only", last]
    command += ["--tflop", "0.02", "--clips", "48", "--jobs", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    first = made.stdout
    assert made.returncode == 0, first + made.stderr + "".join(log.read_text() for log in tmp_path.glob("logs/*"))
    assert f"| {last} | student, 4 steps |" in first
    assert "| none | teacher, 20 steps |" in first
    again = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    assert "0 of 2 students to make" in again
    assert f"| {last} | student, 4 steps |" in again


def test_a_further_seed_trains_for_as_many_steps_as_the_first_did_under_its_budget() -> None:
    (kd,) = [job for job in JOBS if job.name == "kd"]
    every = [result("kd", 0, 0.8, steps=600, budget="140 s"), result("kd", 0, 0.7, steps=266, budget="125 s")]
    assert steps_before(Task(kd, 1), "125 s", every) == 266
    assert steps_before(Task(kd, 1), "60 s", every) is None
