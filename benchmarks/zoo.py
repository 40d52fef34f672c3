"""Every method on one bench: the shapes world, the same teacher, the same budget, the same judge; the table of docs/methods.md.

    python -m benchmarks.zoo --prepare                      # what students are trained on, and operations counted; 15 minutes
    python -m benchmarks.zoo --seeds 0 1 2 --jobs 2         # trains and judges; what is done is not done again
    python -m benchmarks.zoo --seconds 200 --limit 550 --jobs 14
    python -m benchmarks.zoo --table
    python -m benchmarks.zoo --folder benchmarks/zoo_results --pages    # the tables of docs/methods.md and of the methods' READMEs, anew

A student is one run of its recipe in `examples/shapes`, in a process of one thread; chains (a student that begins at another's end)
come after their origins. Each one's figures are lines of results.jsonl in `--folder` as soon as it is done. By default a student trains
for its recipe's own steps; `--seconds` and `--tflop` cut all trainings at the same cost, at a step that follows from the measured speed or
from `distill plan`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.zoo_jobs import JOBS, RECIPES, Task, tasks
from benchmarks.zoo_pages import renew
from benchmarks.zoo_table import count_costs, known_costs, table
from benchmarks.zoo_work import ROOT, Budget, results, work

from distill_metric_shapes.captions import SMALL, captions

CLIPS, PATHS = 1440, 12
"""Clips that are drawn and encoded, and paths of the teacher for each caption."""
GRACE = 10.0
"""Seconds that the students have to leave in at the limit."""


def main() -> None:
    """Do what the command line asks for; the exit status is 1 where a student failed."""
    arguments = _arguments()
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    budget = Budget(arguments.seconds, arguments.tflop)
    wanted = list(tasks(arguments.seeds, arguments.only))
    needs = frozenset[str]().union(*(task.job.needs for task in wanted))
    if arguments.prepare:
        prepare_data(folder, needs, arguments.clips_drawn, arguments.paths)
        count_costs(folder, {task.job for task in wanted})
    elif arguments.table:
        print(table(folder))
    elif arguments.pages:
        renew(table(folder))
    elif arguments.one:
        (task,) = [task for task in wanted if task.job.name == arguments.only[0]]
        work(
            task,
            folder,
            budget,
            known_costs(folder).get(task.job.name),
            arguments.clips // len(captions(SMALL)),
            arguments.device,
        )
    else:
        _refuse_unprepared(folder, needs)
        if budget.tflop is not None:
            count_costs(folder, {task.job for task in wanted})
        bench = Bench(folder, wanted, budget, arguments.clips, arguments.device)
        failed = bench.run(arguments.jobs, arguments.limit)
        print(f"\n{table(folder)}")
        sys.exit(1 if failed else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/zoo"), help="data, runs, logs and results")
    parser.add_argument(
        "--prepare", action="store_true", help="make the data sets that the methods need, count operations, and end"
    )
    parser.add_argument("--clips-drawn", type=int, default=CLIPS, help="of --prepare")
    parser.add_argument("--paths", type=int, default=PATHS, help="of --prepare: the teacher's paths for each caption")
    parser.add_argument("--table", action="store_true", help="print the table of the results that are there, and end")
    parser.add_argument("--pages", action="store_true", help="write that table into the pages that have it, and end")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=[], choices=[job.name for job in JOBS], metavar="STUDENT")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once, of one thread each")
    parser.add_argument(
        "--limit", type=float, help="seconds for all; what runs then is ended, and its figures are lost"
    )
    parser.add_argument("--clips", type=int, default=288, help="to judge, a multiple of 48, the captions")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--seconds", type=float, help="budget of each training")
    budget.add_argument("--tflop", type=float, help="budget of each training")
    arguments = parser.parse_args()
    if arguments.clips < 1 or arguments.clips % len(captions(SMALL)):
        parser.error(f"--clips is a multiple of {len(captions(SMALL))}")
    return arguments


def prepare_data(folder: Path, needs: frozenset[str], clips: int, paths: int) -> None:
    """Make what is missing of ``needs``: clips drawn and encoded (train), the teacher of two experts, and the teacher's paths."""
    distill = [sys.executable, "-m", "distill_core", "data"]
    teacher, kd = f"{RECIPES}/teacher", f"{RECIPES}/kd.yaml"
    drawn, train, ends = folder / "clips", folder / "train", folder / "paths"
    if "train" in needs and not train.exists():
        if not (drawn / "captions.jsonl").exists():
            _command(
                [sys.executable, f"{RECIPES}/draw.py", "--output", str(drawn), "--clips", f"{clips}", "--seed", "0"]
            )
        half = ["--dtype", "float16"]
        _command([*distill, "encode", str(drawn), "--model", teacher, *half, "--output", str(train)])
    if "experts" in needs and not (folder / "experts").exists():
        make_experts(folder / "experts")
    if "paths" in needs and not ends.exists():
        overrides = [f"data.path={ends}", "method_config.stored_steps=[1000]"]
        source = ["--source", f"{RECIPES}/prompts", "--per-row", str(paths)]
        _command([*distill, "trajectories", kd, *overrides, *source])


def make_experts(folder: Path) -> None:
    """The shipped teacher as a pipeline of two experts that meet at 500, each a copy of its transformer."""
    shutil.copytree(ROOT / RECIPES / "teacher", folder)
    shutil.copytree(folder / "transformer", folder / "transformer_2")
    index = folder / "model_index.json"
    told = json.loads(index.read_text(encoding="utf-8"))
    told |= {"boundary_ratio": 0.5, "transformer_2": told["transformer"]}
    index.write_text(json.dumps(told, indent=2), encoding="utf-8")


def _command(command: Sequence[str]) -> None:
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _refuse_unprepared(folder: Path, needs: frozenset[str]) -> None:
    missing = [name for name in sorted(needs) if not (folder / name).exists()]
    if missing:
        sys.exit(f"{folder} has no {' and no '.join(missing)}: run it with --prepare first")


@dataclass
class Bench:
    """The processes of one command.

    Attributes:
        folder: where everything is.
        wanted: the tasks, the most urgent first.
        budget: of each training.
        clips: to judge.
        device: where to train.
        running: the processes, by their task.
        failed: tasks that ended without figures.
    """

    folder: Path
    wanted: list[Task]
    budget: Budget
    clips: int
    device: str
    running: dict[Task, subprocess.Popen[bytes]] = field(default_factory=dict)
    failed: list[Task] = field(default_factory=list)

    def run(self, jobs: int, limit: float | None) -> list[Task]:
        """Work through the list; the tasks that failed."""
        began = time.monotonic()
        done = self._done()
        waiting = [task for task in self.wanted if (task.job.name, task.seed) not in done]
        print(f"{len(waiting)} of {len(self.wanted)} students to make", flush=True)
        try:
            while waiting or self.running:
                self._collect(began)
                left = float("inf") if limit is None else limit - (time.monotonic() - began)
                if left <= 0:
                    break
                if self.budget.seconds is not None and left < self.budget.seconds:
                    waiting = []
                while len(self.running) < jobs and (task := self._next(waiting)) is not None:
                    waiting.remove(task)
                    self._start(task)
                if not self.running and self._next(waiting) is None:
                    break  # what is left begins at students that failed
                time.sleep(0.2)
        finally:
            self._end()
        return self.failed

    def _done(self) -> set[tuple[str, int]]:
        return {(result.job, result.seed) for result in results(self.folder)}

    def _next(self, waiting: Sequence[Task]) -> Task | None:
        """The most urgent task whose origins are there."""
        done = self._done()
        ready = (task for task in waiting if all((name, task.seed) in done for name in task.job.after))
        return next(ready, None)

    def _start(self, task: Task) -> None:
        command = [sys.executable, "-m", "benchmarks.zoo", "--one", "--folder", str(self.folder)]
        command += [
            "--only",
            task.job.name,
            "--seeds",
            str(task.seed),
            "--clips",
            str(self.clips),
            "--device",
            self.device,
        ]
        command += [] if self.budget.seconds is None else ["--seconds", str(self.budget.seconds)]
        command += [] if self.budget.tflop is None else ["--tflop", str(self.budget.tflop)]
        with ExitStack() as stack:
            log = stack.enter_context(self._log(task).open("wb"))
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.running[task] = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def _log(self, task: Task) -> Path:
        path = self.folder / "logs" / f"{task.key}.log"
        path.parent.mkdir(exist_ok=True)
        return path

    def _collect(self, began: float) -> None:
        """Say what has ended."""
        for task, process in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[task]
            told = self._log(task).read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if process.returncode:
                self.failed.append(task)
            word = "done" if process.returncode == 0 else "FAILED"
            print(f"{time.monotonic() - began:5.0f} s  {word}  {told[-1] if told else task.key}", flush=True)

    def _end(self) -> None:
        """End what still runs."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + GRACE
        for task, process in self.running.items():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
            print(f"ended at the limit: {task.key}", flush=True)
        self.running.clear()


if __name__ == "__main__":
    main()
