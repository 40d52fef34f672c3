"""One student of the zoo, in a process of its own: how long it may train, the training, and its figures as lines of results.jsonl."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.zoo_jobs import WARM, Task, run_folder
from rich.console import Console

from distill_core.config.resolve import ResolvedRun, open_run
from distill_core.plugins.discovery import discover
from distill_core.plugins.index import PluginIndex
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import Outcome, train
from distill_metric_shapes.captions import SMALL, captions

ROOT = Path(__file__).resolve().parent.parent
TEACHER = "teacher, "
"""How the recipes' rows begin that sample the teacher."""
WARM_STEPS, COLD_STEPS = 12, 4
"""Training steps by which the speed is measured, and those of them that do not count."""


@dataclass(frozen=True)
class Budget:
    """How much a student may cost: its recipe's own steps, seconds of training, or operations. At most one is given.

    Attributes:
        seconds: of training, this job's alone.
        tflop: of training, in 1e12 multiplications and additions, this job's alone.
    """

    seconds: float | None = None
    tflop: float | None = None

    def __str__(self) -> str:
        """As the results name it."""
        if self.seconds is not None:
            return f"{self.seconds:g} s"
        return "recipe" if self.tflop is None else f"{self.tflop:g} TFLOP"


@dataclass(frozen=True)
class Result:
    """One way of sampling one student.

    Attributes:
        job, seed: whose it is.
        budget: what it was allowed.
        row: the way of sampling, as the recipe names it.
        clips: how many were judged.
        evaluations: of the network, for one clip.
        steps: of training.
        seconds: of training, this job's alone.
        figures: of the metrics, by ``metric/figure``.
    """

    job: str
    seed: int
    budget: str
    row: str
    clips: int
    evaluations: float
    steps: int
    seconds: float
    figures: Mapping[str, float]


def work(task: Task, folder: Path, budget: Budget, step_tflop: float | None, per_caption: int, device: str) -> None:
    """Train one student, judge so many clips of each caption, and add its lines.

    ``step_tflop``: what a step costs, for a budget in operations.
    """
    with chdir(ROOT):
        index = discover()
        overrides = [*task.job.changed(folder, task.seed), f"training.device={device}"]
        own = open_run(task.job.path, [*overrides, "comparison=null"], index)
        steps = _steps(task, folder, own, overrides, index, budget, step_tflop)
        clips = per_caption * len(captions(SMALL))
        known = any(result.row.startswith(TEACHER) and result.clips == clips for result in results(folder))
        rows = rows_of(task, open_run(task.job.path, overrides, index), teacher=task.job.teacher and not known)
        compared = {"rows": rows, "prompts": list(captions(SMALL)), "clips_per_prompt": per_caption, "page_clips": 4}
        home = run_folder(folder, task.job.name, task.seed)
        began = time.monotonic()
        outcome = _run(
            task.job.path,
            [*overrides, *shortened(own, task.job.scaled, steps), f"comparison={json.dumps(compared)}"],
            home,
            index,
        )
        _add(task, folder, budget, outcome)
        print(f"{task.key}: {steps} steps, {time.monotonic() - began:.0f} s with judging", flush=True)


def _steps(
    task: Task,
    folder: Path,
    own: ResolvedRun,
    overrides: list[str],
    index: PluginIndex,
    budget: Budget,
    step_tflop: float | None,
) -> int:
    """How many training steps the budget pays, at most those of the recipe."""
    most = own.config.training.max_train_steps
    if budget.tflop is not None:
        assert step_tflop is not None
        return max(1, min(most, int(budget.tflop / step_tflop)))
    if budget.seconds is None:
        return most
    before = steps_before(task, str(budget), results(folder))
    if before is not None:
        return before
    home = folder / "warm" / run_folder(folder, task.job.name, task.seed).name
    short = shortened(own, task.job.scaled, WARM_STEPS)
    _run(task.job.path, [*overrides, *short, "comparison=null", "tracking.log_interval=1"], home, index)
    logged = [json.loads(line) for line in (home / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = [line["steps_per_second"] for line in logged if "steps_per_second" in line][COLD_STEPS:]
    shutil.rmtree(home)
    return max(1, min(most, int(budget.seconds / (sum(1.0 / rate for rate in rates) / len(rates)))))


def steps_before(task: Task, budget: str, every: Sequence[Result]) -> int | None:
    """How long another seed of a job was trained under the same budget: speed is measured once, seeds differ in nothing else."""
    return next((one.steps for one in every if (one.job, one.budget) == (task.job.name, budget)), None)


def shortened(own: ResolvedRun, scaled: tuple[str, ...], steps: int) -> list[str]:
    """Overrides that make a recipe's run one of ``steps``, with all that it counts in steps in proportion."""
    share = steps / own.config.training.max_train_steps
    found = [f"training.max_train_steps={steps}", f"checkpoint.interval={steps}", "checkpoint.keep_last=1"]
    for path in scaled:
        value: Any = own.to_mapping()
        for name in path.split("."):
            value = value[name]
        found.append(f"{path}={max(0 if path == WARM else 1, int(value * share))}")
    return found


def rows_of(task: Task, own: ResolvedRun, *, teacher: bool) -> dict[str, Any]:
    """The recipe's ways of sampling, but for those of what other runs sample: the teacher, and frozen roles that begin at another job."""
    rows: dict[str, Any] = own.to_mapping()["comparison"]["rows"]
    others = {start.role for start in task.job.starts if not own.config.roles[start.role].trainable}
    others |= set() if teacher else {"teacher"}
    return {name: row for name, row in rows.items() if row["role"] not in others}


def _run(path: str, overrides: list[str], home: Path, index: PluginIndex) -> Outcome:
    """Train anew: what an earlier process left unfinished would not count its seconds."""
    shutil.rmtree(home, ignore_errors=True)
    resolved = open_run(path, [*overrides, f"output_dir={home}"], index)
    directory = RunDirectory(home)
    directory.claim(resolved.to_mapping())
    return train(prepare(resolved), directory, [], Console(quiet=True))


def _add(task: Task, folder: Path, budget: Budget, outcome: Outcome) -> None:
    """All lines of a student in one write, so that there are all or none."""
    assert outcome.comparison is not None
    table, _ = outcome.comparison
    results = [
        Result(
            task.job.name,
            task.seed,
            str(budget),
            line.name,
            line.clips,
            line.evaluations,
            outcome.training.step,
            round(outcome.training.seconds, 1),
            dict(line.figures),
        )
        for line in table.lines
    ]
    text = "".join(json.dumps(asdict(result)) + "\n" for result in results)
    file = os.open(results_file(folder), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def results_file(folder: Path) -> Path:
    """Where all lines are."""
    return folder / "results.jsonl"


def results(folder: Path) -> list[Result]:
    """What is there."""
    file = results_file(folder)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Result(**json.loads(line)) for line in lines]
