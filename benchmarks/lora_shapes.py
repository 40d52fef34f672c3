"""A LoRA student of the shapes world against the one that trains all weights, and what three roles on one set of weights take.

Without options: the bytes of all parameters that three roles hold, against those of one set of weights and their LoRAs (seconds). With
``--train``: `examples/shapes/dmd2-lora.yaml` and `dmd2.yaml`, each seed of each a `distill run` of about 5 minutes on one CPU thread and
288 clips by the judge of the shapes world; the bar is an accuracy within .02 of the full student's. ``--full FILE`` takes the full
students' accuracies, a JSON list, from another time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

from quality_shapes import ROOT, STUDENT, Student, report, run

RECIPE = "examples/shapes/dmd2-lora.yaml"
LORA = Student("1 step, LoRA", RECIPE, 1, 8.0, 0.94)
FULL = Student("1 step", "examples/shapes/dmd2.yaml", 1, 8.0, 0.96)
MOST_BYTES, MOST_LOSS = 1.05, 0.02


def main() -> None:
    """Print the figures; the exit status is 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--full", type=Path, help="accuracies of the full students, instead of training them")
    parser.add_argument("--output", type=Path, default=Path("runs/lora-shapes"), help="a new folder for the runs")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides of the LoRA recipe, to try others")
    arguments = parser.parse_args()
    held = report_bytes(arguments.overrides)
    if arguments.train:
        loras = [run(LORA, seed, arguments.output, arguments.overrides) for seed in arguments.seeds]
        report(LORA, loras)
        accuracies = [each[STUDENT]["all_correct"] for each in loras]
        if arguments.full is None:
            full = [run(FULL, seed, arguments.output, [])[STUDENT]["all_correct"] for seed in arguments.seeds]
        else:
            full = json.loads(arguments.full.read_text())
        lost = statistics.mean(full) - statistics.mean(accuracies)
        print(
            f"\naccuracy: full {statistics.mean(full):.3f} {full}, LoRA {statistics.mean(accuracies):.3f} {accuracies}"
        )
        print(f"lost: {lost:.3f}, bar {MOST_LOSS}: {'met' if lost <= MOST_LOSS else 'MISSED'}")
        held = held and lost <= MOST_LOSS
    sys.exit(0 if held else 1)


def report_bytes(overrides: list[str]) -> bool:
    """Print the parameter bytes of the recipe's three roles; whether they are within the bar."""
    from distill_core.config.resolve import open_run
    from distill_core.plugins.discovery import discover
    from distill_core.running.preparation import prepare
    from distill_core.running.roles import RoleBuilder, build_models

    prepared = prepare(open_run(ROOT / RECIPE, ["output_dir=runs/none", *overrides], discover()))
    models = build_models(prepared.run, prepared.placement)
    roles = RoleBuilder(prepared.run, models, prepared.placement, prepared.latent_shape, print).build()
    parts = [part for role in roles.values() for part in (role.container, *role.worn)]
    every = {parameter for part in parts for parameter in part.parameters()}
    held = sum(parameter.numel() * parameter.element_size() for parameter in every)
    one = sum(parameter.numel() * parameter.element_size() for parameter in roles["teacher"].container.parameters())
    loras = [sum(p.numel() * p.element_size() for p in role.lora.parameters()) for role in roles.values() if role.lora]
    share = held / (one + sum(loras))
    verdict = "met" if share <= MOST_BYTES else "MISSED"
    print(f"three roles hold {held:,} bytes of parameters; one set of weights {one:,}, LoRAs {loras}")
    print(
        f"bytes / (one set + LoRAs) {share:.3f}, bar {MOST_BYTES}: {verdict}; / three full roles {held / (3 * one):.3f}"
    )
    return share <= MOST_BYTES


if __name__ == "__main__":
    main()
