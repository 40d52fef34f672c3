"""How good few-step students of the shipped teacher are: three seeds, 288 clips each, with the bars that they must reach.

Each student is one `distill run` of `examples/shapes/dmd2.yaml` (or `dmd2-2step.yaml`), whose comparison samples all captions, held-out
ones among them, with the judge of the shapes world. Prints mean and spread over the seeds, and the ratios to the teacher at its full steps.
On one CPU thread: about 5 minutes a seed and student.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from distill_metric_shapes.captions import SMALL, captions

ROOT = Path(__file__).resolve().parent.parent
CLIPS = 288
FULL, SAME, STUDENT = "teacher, full", "teacher, same", "student"
SPREADS = ("spread_size", "spread_place", "spread_speed")


@dataclass(frozen=True)
class Student:
    """One recipe and its bars.

    Attributes:
        name: the row's name.
        recipe: its YAML.
        evaluations: the student's, and those of the undistilled teacher beside it.
        minutes: the longest that training may take.
        all_correct: the least share of clips that show their captions.
    """

    name: str
    recipe: str
    evaluations: int
    minutes: float
    all_correct: float


STUDENTS = (
    Student("1 step", "examples/shapes/dmd2.yaml", 1, 4.0, 0.96),
    Student("2 steps", "examples/shapes/dmd2-2step.yaml", 2, 2.0, 0.99),
)
LEAST_SPREAD, LEAST_COVERAGE = 0.85, 0.95


def main() -> None:
    """Run what the command line asks for, print the table; the exit status is 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--students", nargs="+", choices=[student.name for student in STUDENTS])
    parser.add_argument("--output", type=Path, default=Path("runs/quality-shapes"), help="a new folder for the runs")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides of the recipes, to try others")
    arguments = parser.parse_args()
    if arguments.output.exists():
        parser.error(
            f"{arguments.output} is there already: a run that goes on takes less time than it needs; name a new folder"
        )
    began, held = time.monotonic(), True
    for student in STUDENTS:
        if arguments.students is None or student.name in arguments.students:
            runs = [run(student, seed, arguments.output, arguments.overrides) for seed in arguments.seeds]
            held = report(student, runs) and held
    print(f"{time.monotonic() - began:.0f} s in all; {len(arguments.seeds)} seeds, {CLIPS} clips each")
    sys.exit(0 if held else 1)


def run(student: Student, seed: int, output: Path, overrides: list[str]) -> dict[str, dict[str, float]]:
    """One student: its comparison's rows by name, each with its figures, and ``seconds`` of training in the student's."""
    folder = output / f"{student.name.replace(' ', '-')}-seed{seed}"
    every = captions(SMALL)
    rows = {
        FULL: {"role": "teacher", "steps": 20, "guidance_scale": 2.0},
        SAME: {"role": "teacher", "steps": student.evaluations, "guidance_scale": 1.0},
        STUDENT: {"role": "student"},
    }
    comparison = {"rows": rows, "prompts": list(every), "clips_per_prompt": CLIPS // len(every), "page_clips": 8}
    arguments = [
        f"training.seed={seed}",
        f"output_dir={folder}",
        "validation.interval=null",
        "validation.at_start=false",
    ]
    command = [
        sys.executable,
        "-m",
        "distill_core",
        "run",
        student.recipe,
        *arguments,
        f"comparison={json.dumps(comparison)}",
    ]
    subprocess.run([*command, *overrides], cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    table = json.loads((ROOT / folder / "comparison" / "table.json").read_text())
    found = {
        line["name"]: {name.partition("/")[2]: value for name, value in line["figures"].items()}
        for line in table["lines"]
    }
    found[STUDENT]["minutes"] = json.loads((ROOT / folder / "exit_reason.json").read_text())["seconds"] / 60
    return found


def report(student: Student, runs: list[dict[str, dict[str, float]]]) -> bool:
    """Print one student's figures, mean ± standard deviation over the seeds, against its bars; whether all are met."""
    rows = {
        "all correct": ([each[STUDENT]["all_correct"] for each in runs], student.all_correct),
        "  held-out compositions": ([each[STUDENT]["held_out_correct"] for each in runs], None),
        "  undistilled, same steps": ([each[SAME]["all_correct"] for each in runs], None),
        "  teacher, 20 steps": ([each[FULL]["all_correct"] for each in runs], None),
        **{
            f"{name.replace('_', ' of ')} / teacher's": (
                [each[STUDENT][name] / each[FULL][name] for each in runs],
                LEAST_SPREAD,
            )
            for name in SPREADS
        },
        "coverage / teacher's": ([each[STUDENT]["coverage"] / each[FULL]["coverage"] for each in runs], LEAST_COVERAGE),
        "energy distance / teacher's": (
            [each[STUDENT]["energy_distance"] / each[FULL]["energy_distance"] for each in runs],
            None,
        ),
    }
    print(f"\n{student.name} ({student.recipe})")
    held = True
    for name, (values, bar) in rows.items():
        mean = statistics.mean(values)
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        verdict = "" if bar is None else f"  bar {bar:.2f}: {'met' if mean >= bar else 'MISSED'}"
        held = held and (bar is None or mean >= bar)
        print(f"  {name:32} {mean:.3f} ± {spread:.3f}{verdict}")
    minutes = [each[STUDENT]["minutes"] for each in runs]
    late = max(minutes) > student.minutes
    print(
        f"  {'minutes of training':32} {statistics.mean(minutes):.1f}, bar {student.minutes:.0f}: {'MISSED' if late else 'met'}"
    )
    return held and not late


if __name__ == "__main__":
    main()
