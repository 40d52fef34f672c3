"""Judge a folder of clips: how many show their captions, how varied they are, and how far they are from another folder.

The judge itself is `verdict.py`, the distances are `distances.py`; this measures sets with them and prints the result.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from captions import SETTINGS, SMALL, Setting
from clips import read_clips
from distances import Spreads, coverage, energy_distance, spreads
from outlines import Array
from verdict import Verdict, features, judge
from world import Frames

from distill_core.errors import DataError, DistillError

NEIGHBOURS = 5


@dataclass(frozen=True)
class Sample:
    """A measured set of videos: one verdict each, and their features_ND."""

    verdicts: tuple[Verdict, ...]
    features_ND: Array


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1] of the videos of a set that are right, in all and in each respect, and the mean fit of the shape."""

    clips: int
    all: float
    colour: float
    shape: float
    motion: float
    size: float
    iou: float


@dataclass(frozen=True)
class Comparison:
    """A set against a reference set: see `distances.py`; spreads are divided by the reference's."""

    energy_distance: float
    coverage: float
    spreads: Spreads


def measure(clips: Iterable[tuple[Frames, str]], setting: Setting) -> Sample:
    """Judge every video against its caption and take its features.

    Raises:
        DataError: there is none, or a caption is outside the grammar.
    """
    pairs = [(judge(frames, caption, setting), features(frames, setting)) for frames, caption in clips]
    if not pairs:
        raise DataError("there are no clips to judge; draw some with: python examples/shapes/draw.py --output DIR")
    verdicts, rows = zip(*pairs, strict=True)
    return Sample(verdicts=verdicts, features_ND=np.stack(rows))


def accuracy(sample: Sample) -> Accuracy:
    """The shares that are right."""
    of = sample.verdicts
    return Accuracy(
        clips=len(of),
        all=float(np.mean([verdict.right for verdict in of])),
        colour=float(np.mean([verdict.colour for verdict in of])),
        shape=float(np.mean([verdict.shape for verdict in of])),
        motion=float(np.mean([verdict.motion for verdict in of])),
        size=float(np.mean([verdict.size for verdict in of])),
        iou=float(np.mean([verdict.iou for verdict in of])),
    )


def compare(sample: Sample, reference: Sample) -> Comparison:
    """Hold one set against another.

    Raises:
        DataError: the reference is too small for a coverage, or does not vary.
    """
    own, other = spreads(sample.verdicts), spreads(reference.verdicts)
    if len(reference.verdicts) <= NEIGHBOURS or min(dataclasses.astuple(other)) <= 0.0:
        raise DataError(f"the reference needs more than {NEIGHBOURS} clips, and not all alike; draw more of them")
    return Comparison(
        energy_distance=energy_distance(sample.features_ND, reference.features_ND),
        coverage=coverage(sample.features_ND, reference.features_ND, NEIGHBOURS),
        spreads=Spreads(size=own.size / other.size, place=own.place / other.place, speed=own.speed / other.speed),
    )


def main() -> None:
    """Judge as the command line says; exit with the error's own status, and one line, where it cannot be done."""
    parser = argparse.ArgumentParser(description="Judge whether the clips of a folder show their captions.")
    parser.add_argument("folder", type=Path, help="mp4 files and a captions.jsonl")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="real clips to compare with")
    parser.add_argument("--setting", choices=SETTINGS, default=SMALL.name)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    try:
        report = _report(arguments.folder, arguments.against, SETTINGS[arguments.setting])
    except DistillError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(json.dumps(report, indent=2) if arguments.json else _table(report))


def _report(folder: Path, against: Path | None, setting: Setting) -> dict[str, dict[str, object]]:
    sample = measure(read_clips(folder, setting), setting)
    report = {
        "accuracy": dataclasses.asdict(accuracy(sample)),
        "spreads": dataclasses.asdict(spreads(sample.verdicts)),
    }
    if against is not None:
        report["against"] = dataclasses.asdict(compare(sample, measure(read_clips(against, setting), setting)))
    return report


def _table(report: dict[str, dict[str, object]]) -> str:
    lines = []
    for heading, figures in report.items():
        lines.append(heading)
        lines.extend(f"  {name:16} {_figure(value)}" for name, value in figures.items())
    return "\n".join(lines)


def _figure(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part:.3f}" for name, part in value.items())
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
