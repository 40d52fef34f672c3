"""The table of the zoo: what results.jsonl says, mean ± standard deviation over the seeds, with what a student cost from the teacher on."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.zoo_jobs import JOBS, SHOWN, Job
from benchmarks.zoo_work import ROOT, TEACHER, Result, results

from distill_core.planning.plan import Plan
from distill_core.planning.subject import subject_of
from distill_core.planning.trial import play
from distill_core.plugins.discovery import discover
from distill_core.plugins.weightless import weightless

FIGURES = {
    "all correct": "shapes/all_correct",
    "held out": "shapes/held_out_correct",
    "size": "shapes/spread_size",
    "place": "shapes/spread_place",
    "speed": "shapes/spread_speed",
    "coverage": "shapes/coverage",
    "e.d.": "shapes/energy_distance",
}
"""Columns, by what the metric calls them."""
DRIFT = {name: f"drift/{name}" for name in ("colour", "contrast", "saturation", "place")}
"""Of rows whose clips are longer than the world's, which its judge leaves out."""
UNTRAINED = (TEACHER, "before, ")
"""How the recipes' rows begin that sample what nothing was trained of."""
TERA = 1e12


@dataclass(frozen=True)
class Cost:
    """What it took to train a student, with those that it began at.

    Attributes:
        seconds: of training.
        tflop: of training; None where it was not counted.
    """

    seconds: float
    tflop: float | None

    def __add__(self, other: Cost) -> Cost:
        """Of both."""
        counted = None if self.tflop is None or other.tflop is None else self.tflop + other.tflop
        return Cost(self.seconds + other.seconds, counted)


def known_costs(folder: Path) -> dict[str, float]:
    """TFLOP of a training step, by job, as far as they were counted."""
    file = folder / "flops.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def count_costs(folder: Path, jobs: Iterable[Job]) -> None:
    """Count what is not known, as ``distill plan`` does; a quarter of a minute a job."""
    known, index = known_costs(folder), discover()
    for job in jobs:
        if job.name not in known:
            with weightless():
                subject = subject_of(ROOT / job.path, job.alone(folder), index, on_card=False)
                known[job.name] = Plan(subject, play(subject, lambda _: None)).flops / TERA
            (folder / "flops.json").write_text(json.dumps(known, indent=2), encoding="utf-8")


def cost(result: Result, every: Sequence[Result], steps: Mapping[str, float]) -> Cost:
    """Of one result, whose origins are among ``every``; an origin that is not there counts nothing.

    A student that was made twice was the origin of what came after it: the one whose weights were there.
    """
    origins = next(job for job in JOBS if job.name == result.job).after
    found = Cost(result.seconds, result.steps * steps[result.job] if result.job in steps else None)
    before = every[: every.index(result)] if result in every else every
    for origin in sorted(origins):
        of_seed = [one for one in before if one.job == origin and one.seed == result.seed]
        if of_seed:
            found += cost(of_seed[-1], every, steps)
    return found


def table(folder: Path) -> str:
    """Two tables in markdown: all rows that the judge has figures of, and the drift of those that go on for longer."""
    every = results(folder)
    costs = known_costs(folder)
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in every:
        own = ("", f"{result.clips}") if result.row.startswith(UNTRAINED) else (result.job, result.budget)
        groups.setdefault((own[0], result.row, own[1]), []).append(result)
    judged = [group for group in _ordered(groups) if FIGURES["all correct"] in group[0].figures]
    longer = [group for group in _ordered(groups) if DRIFT["colour"] in group[0].figures]
    head = ("student", "sampled", "evaluations", *FIGURES, "train s", "TFLOP", "steps", "budget", "clips", "seeds")
    lines = [_line(head), _line(["---"] * len(head))]
    for group in judged:
        untrained = group[0].row.startswith(UNTRAINED)
        trained, group = ([], group[:1]) if untrained else (group, group)
        spent = [cost(one, every, costs) for one in trained]
        clips = {one.clips for one in group}
        lines.append(
            _line(
                [
                    group[0].job if trained else "none",
                    group[0].row,
                    f"{group[0].evaluations:g}",
                    *(_mean([one.figures[key] for one in group if key in one.figures], 3) for key in FIGURES.values()),
                    _mean([cost(first, every, costs).seconds for first in _firsts(trained[:1], every)], 0),
                    _mean([each.tflop for each in spent if each.tflop is not None], 1),
                    _mean([float(one.steps) for one in trained], 0),
                    group[0].budget if trained else "–",
                    f"{min(clips)}" if len(clips) == 1 else f"{min(clips)} to {max(clips)}",
                    f"{len(group)}",
                ]
            )
        )
    if longer:
        head = ("student", "sampled", *(f"drift of {name}" for name in DRIFT), "budget", "seeds")
        lines += ["", _line(head), _line(["---"] * len(head))]
        for group in longer:
            values = (_mean([one.figures[key] for one in group], 3) for key in DRIFT.values())
            lines.append(_line([group[0].job, group[0].row, *values, group[0].budget, f"{len(group)}"]))
    return "\n".join(lines)


def _firsts(trained: Sequence[Result], every: Sequence[Result]) -> list[Result]:
    """The first student of the same job and budget: the steps of later ones were set by it, wherever they ran."""
    return [next(one for one in every if (one.job, one.budget) == (each.job, each.budget)) for each in trained]


def _ordered(groups: Mapping[tuple[str, str, str], list[Result]]) -> list[list[Result]]:
    """What nothing was trained of, then the students as ``SHOWN`` has them; a job's rows as its recipe has them."""
    places = {name: place for place, name in enumerate(("", *SHOWN))}
    return [groups[key] for key in sorted(groups, key=lambda key: places[key[0]])]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mean(values: Sequence[float], digits: int) -> str:
    """With the deviation over the seeds, where there are several and it shows; a dash where a figure is missing."""
    if not values:
        return "–"
    mean, spread = _short(statistics.mean(values), digits), statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{mean} ± {_short(spread, digits)}" if round(spread, digits) else mean


def _short(value: float, digits: int) -> str:
    """Without the zero before the point."""
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text
