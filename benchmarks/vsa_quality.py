"""What video sparse attention costs in quality: the medium shapes world's teacher, trained on densely and at sparsities of 0.5 and 0.8.

The medium world's clips are 17 frames of 64 × 64: 5 × 8 × 8 tokens, in 2 × 2 × 2 cubes. Each model begins as the teacher that ships
(`examples/shapes/medium-teacher`) and sees the same batches and noises, and all are sampled alike; the sparse ones are sampled densely
too, as a pipeline without sparse attention would. Every stage is a command, and is skipped when its result is there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from distill_metric_shapes.captions import MEDIUM, captions

ROOT = Path(__file__).resolve().parent.parent
TEACHER = "examples/shapes/medium-teacher"
SPARSITIES = (0.0, 0.5, 0.8)
LAST = 10
"""Lines of the log whose mean is a run's final loss."""


def main() -> None:
    """Make what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("runs/vsa-quality"), help="where stages keep their results")
    parser.add_argument("--clips", type=int, default=1200, help="of training (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1500, help="default: %(default)s")
    parser.add_argument(
        "--judged", type=int, default=2, help="clips of each caption that are judged (default: %(default)s)"
    )
    parser.add_argument("--sparsities", type=float, nargs="+", default=SPARSITIES, help="0 is dense attention")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    stage(
        output / "clips",
        [sys.executable, "examples/shapes/draw.py", "--clips", str(arguments.clips), "--setting", MEDIUM.name],
    )
    stage(output / "data", [*DISTILL, "data", "encode", str(output / "clips"), "--model", TEACHER])
    rows = [row for sparsity in arguments.sparsities for row in trained(output, sparsity, arguments)]
    judged = len(captions(MEDIUM)) * arguments.judged
    print(f"\n{arguments.steps} steps of 8 clips, {judged} clips judged, 20 steps of guidance 2")
    print(f"{'':34}{'loss':>8}{'all':>7}{'colour':>8}{'shape':>7}{'motion':>8}{'IoU':>7}")
    for name, loss, figures in rows:
        shares = "".join(
            f"{figures[f'shapes/{key}']:{width}.3f}"
            for key, width in (("all_correct", 7), ("colour", 8), ("shape", 7), ("motion", 8), ("shape_iou", 7))
        )
        print(f"{name:34}{'' if loss is None else f'{loss:.4f}':>8}{shares}")


DISTILL = [sys.executable, "-m", "distill_core"]


def stage(result: Path, command: list[str]) -> None:
    """Run a command that writes ``result`` to its ``--output``, unless that is there."""
    if not result.exists():
        run([*command, "--output", str(result)])


def run(command: list[str]) -> None:
    """From the repository's root, on one thread."""
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def trained(
    output: Path, sparsity: float, asked: argparse.Namespace
) -> list[tuple[str, float | None, dict[str, float]]]:
    """Train one model, if it is not there: a row for how it was trained, and for a sparse one another for dense sampling."""
    name = f"sparsity {sparsity:g}" if sparsity else "dense"
    folder = output / name.replace(" ", "-")
    how = {"role": "student", "steps": 20, "guidance_scale": 2.0}
    rows = {name: how} | ({f"{name}, sampled densely": how | {"attn_kind": "dense"}} if sparsity else {})
    recipe = {
        "recipe": {"family": "wan", "method": "finetune"},
        "roles": {"student": {"path": TEACHER, "trainable": True, "ema": {"decay": 0.99}}},
        "data": {"path": str(output / "data")},
        "training": {
            "max_train_steps": asked.steps,
            "train_batch_size": 8,
            "learning_rate": 5.0e-4,
            "betas": [0.9, 0.99],
            "weight_decay": 0.01,
            "max_grad_norm": 1.0,
            "lr_scheduler": "cosine",
            "lr_warmup_steps": 20,
            "cpu_threads": 1,
            "VSA_sparsity": sparsity,
        },
        "output_dir": str(folder),
        "pipeline_config": {"flow_shift": 1.0, "sampling_shift": 3.0},
        "method_config": {
            "weighting_scheme": "logit_normal",
            "logit_std": 1.2,
            "caption_dropout": 0.1,
            "attn_kind": "vsa" if sparsity else "dense",
        },
        "metrics": {"shapes": {"setting": MEDIUM.name}},
        "comparison": {
            "rows": rows,
            "prompts": list(captions(MEDIUM)),
            "clips_per_prompt": asked.judged,
            "page_clips": 8,
        },
        "checkpoint": {"interval": 100, "keep_last": 1},
        "tracking": {"log_interval": 20},
    }
    path = output / f"{folder.name}.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    run([*DISTILL, "run", str(path)])
    table = json.loads((folder / "comparison" / "table.json").read_text())
    figures = {line["name"]: line["figures"] for line in table["lines"]}
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in logged if "loss" in line]
    final = statistics.mean(losses[-LAST:])
    return [(row, final if row == name else None, figures[row]) for row in rows]


if __name__ == "__main__":
    main()
