"""Judge a folder of clips: how many show their captions, how varied they are, and how far they are from another folder."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from clips import read_clips, read_samples

from distill_core.errors import DistillError
from distill_metric_shapes.captions import SETTINGS, SMALL, Setting
from distill_metric_shapes.distances import spreads
from distill_metric_shapes.measure import accuracy, compare, measure
from distill_metric_shapes.metric import share_kept, told_by


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
    samples = list(read_samples(folder, setting))
    clips = [(video.frames.numpy(), told_by(video, setting)) for video in samples]
    sample = measure(clips, setting)
    kept = share_kept(samples, setting)
    report: dict[str, dict[str, object]] = {
        "accuracy": dataclasses.asdict(accuracy(sample)),
        "spreads": dataclasses.asdict(spreads(sample.verdicts)),
    }
    if kept is not None:
        report["picture"] = {"kept": kept}
    if against is not None:
        reference = measure(read_clips(against, setting), setting)
        report["against"] = {"clips": len(reference.verdicts), **dataclasses.asdict(compare(sample, reference))}
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
