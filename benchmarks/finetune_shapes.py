"""How a teacher of the shapes world learns: validation loss by timestep quantile and caption accuracy against seconds of training.

    python benchmarks/finetune_shapes.py [--steps 5000] [--points 10]

Draws and encodes clips that training never sees, by the example's own commands; trains the teacher anew by `examples/shapes/finetune.yaml`;
then measures each of its checkpoints. The losses are the method's own, on the same clips with the same noises every time: what differs
between two checkpoints is the weights. Needs `pipeline` and `train` in the work folder, the first stages of `examples/shapes/make.sh`.
On one CPU thread: about 15 minutes of training and a minute a checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from distill_core.data.reading.dataset import ParquetDataset, open_dataset
from distill_core.finished.restore import RestoredRole, open_finished, restore_role
from distill_core.plugins.discovery import discover
from distill_core.running.preparation import Placement
from distill_core.training.batches import Batches
from distill_core.training.draws import KeyedDraw
from distill_method_finetune.config import FinetuneOptions
from distill_method_finetune.method import Finetune
from distill_metric_shapes.captions import SMALL, captions
from distill_metric_shapes.config import ShapesOptions
from distill_metric_shapes.metric import ShapesMetric

ROOT = Path(__file__).resolve().parent.parent
SHAPES = ROOT / "examples" / "shapes"
CPU = Placement(torch.device("cpu"), torch.float32)
QUARTERS = 4
BATCH = 64
CLIPS = {"exclude": 256, "only": 64}
"""Validation clips by what they are of: compositions that are trained on, and held-out ones."""
CLIPS_SEED = 2_000_000
"""Neither that of the clips that training sees (0) nor that of the judge's reference."""
SEEDS = (0, 1)
"""Noises per caption of the sampled clips."""


@dataclass(frozen=True)
class QuarterDraw(KeyedDraw):
    """Keyed draws whose timesteps all come from one quarter of the method's density: least noise in quarter 0, most in 3.

    (Of logit_normal, as the recipe has it, and of uniform; a density of type mode is the other way round.)
    """

    quarter: int = 0

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> Tensor:
        """As ever; for the timestep the quarter's share of [low, high)."""
        u_B = super().uniform(name)
        if name == "timestep":
            u_B = (self.quarter + u_B) / QUARTERS
        return low + (high - low) * u_B

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        """As ever; for the timestep between two quartiles of the normal distribution."""
        return torch.special.ndtri(self.uniform(name)).float() if name == "timestep" else super().normal(name, shape)


@dataclass(frozen=True)
class Measured:
    """One set of weights.

    Attributes:
        quarters: mean loss on validation clips, of each quarter of the timestep's density.
        held_out_loss: mean loss on clips of held-out compositions, over all of it.
        correct: share of sampled clips that show their captions, and of those of held-out compositions.
    """

    quarters: tuple[float, ...]
    held_out_loss: float
    correct: tuple[float, float]

    @property
    def loss(self) -> float:
        """Mean loss on validation clips."""
        return sum(self.quarters) / QUARTERS


@dataclass(frozen=True)
class Point:
    """One checkpoint: seconds of training up to it, its weights as they were trained, and their moving average, which ships."""

    step: int
    seconds: float
    trained: Measured
    averaged: Measured


def main() -> None:
    """Train and measure as the command line says, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=5000, help="of training (default: %(default)s, the recipe's)")
    parser.add_argument("--points", type=int, default=10, help="checkpoints to measure (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=SHAPES / "work", help="where make.sh keeps pipeline and train")
    parser.add_argument("--output", type=Path, default=Path("runs/finetune-shapes"), help="a new folder")
    arguments = parser.parse_args()
    output, pipeline, train = (
        path.resolve() for path in (arguments.output, arguments.work / "pipeline", arguments.work / "train")
    )
    if not 1 <= arguments.points <= arguments.steps:
        parser.error("--points is at least 1 and at most --steps")
    if output.exists():
        parser.error(f"{output} is there already; name a new folder")
    for folder in (pipeline, train):
        if not folder.is_dir():
            parser.error(f"{folder} is not there; examples/shapes/make.sh makes it")
    began = time.monotonic()
    torch.set_num_threads(1)
    validation = {of: validation_clips(output / of, pipeline, of) for of in CLIPS}
    run = trained(output / "run", pipeline, train, arguments.steps, arguments.steps // arguments.points)
    report(measured(run, validation))
    print(f"{time.monotonic() - began:.0f} s in all")


def command(*arguments: object) -> None:
    """One command of the example, from the repository's root, on one thread. One that fails has said why: its exit status is ours."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    status = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, check=False, env=environment).returncode
    if status:
        sys.exit(status)


def validation_clips(folder: Path, pipeline: Path, held_out: str) -> ParquetDataset:
    """Clips of a seed of their own, drawn and encoded."""
    clips, data = folder / "clips", folder / "data"
    drawn = ("--clips", CLIPS[held_out], "--seed", CLIPS_SEED, "--held-out", held_out)
    command(SHAPES / "draw.py", "--output", clips, *drawn)
    command("-m", "distill_core", "data", "encode", clips, "--model", pipeline, "--output", data)
    return open_dataset(data, latents=True)


def trained(run: Path, pipeline: Path, train: Path, steps: int, interval: int) -> Path:
    """The recipe's run, with a checkpoint every ``interval`` steps that is kept, and nothing else to do on the way."""
    command(
        "-m", "distill_core", "run", SHAPES / "finetune.yaml", f"roles.student.path={pipeline}", f"data.path={train}",
        f"output_dir={run}", f"training.max_train_steps={steps}", f"checkpoint.interval={interval}",
        f"checkpoint.keep_last={steps}", "validation.interval=null",
    )  # fmt: skip
    return run


def measured(run: Path, validation: dict[str, ParquetDataset]) -> Iterator[Point]:
    """Every checkpoint of the run, first to last."""
    index = discover()
    resolved, directory = open_finished(run, index)
    assert isinstance(resolved.method_options, FinetuneOptions)
    options = resolved.method_options.model_copy(update={"caption_dropout": 0.0})
    lines = [json.loads(line) for line in directory.metrics.read_text(encoding="utf-8").splitlines()]
    seconds = {line["step"]: line["step"] / line["steps_per_second"] for line in lines}
    for folder in sorted(directory.checkpoints.glob("step-*")):
        step = int(folder.name.removeprefix("step-"))
        trained, averaged = (
            weights(
                restore_role(run, index, "student", step=step, averaged=averaged, placement=CPU), options, validation
            )
            for averaged in (False, True)
        )
        yield Point(step, seconds[step], trained, averaged)


def weights(teacher: RestoredRole, options: FinetuneOptions, validation: dict[str, ParquetDataset]) -> Measured:
    """The method's own losses, the noises and timesteps of a clip the same at every checkpoint; and what the judge says."""
    method = Finetune({"student": teacher.role}, options)
    seen, held_out = (
        tuple(loss(method, teacher, validation[of], quarter) for quarter in range(QUARTERS)) for of in CLIPS
    )
    found = judged(teacher)
    return Measured(seen, sum(held_out) / QUARTERS, (found["all_correct"], found["held_out_correct"]))


@torch.no_grad()
def loss(method: Finetune, teacher: RestoredRole, clips: ParquetDataset, quarter: int) -> float:
    """The mean over all clips, with timesteps of one quarter."""
    total = 0.0
    batches = Batches({teacher.role.family: teacher.model.adapter}, teacher.facts.latent_space, CPU.device)
    for first in range(0, len(clips), BATCH):
        positions = tuple(range(first, min(first + BATCH, len(clips))))
        batch = batches.prepare([clips[row] for row in positions], teacher.latent_shape)
        draw = QuarterDraw(0, 0, 0, positions, CPU.device, f"validation/{quarter}/", quarter)
        (staged,) = method.losses(batch, draw)
        total += len(positions) * staged.value.item()
    return total / len(clips)


def judged(teacher: RestoredRole) -> dict[str, float]:
    """What the judge says of clips of every caption, held-out ones among them, sampled as the run samples."""
    request = replace(teacher.sampling, prompts=captions(SMALL), seeds=SEEDS, noise="own")
    videos = list(teacher.model.sampler.sample(teacher.role, request, teacher.latent_shape))
    return dict(ShapesMetric(ShapesOptions()).measure(videos))


def report(points: Iterable[Point]) -> None:
    """The table, as Markdown, a line when it is measured: losses and accuracy of the trained weights, then of the averaged ones."""
    quarters = [f"q{quarter}" for quarter in range(1, QUARTERS + 1)]
    figures = ("loss", "held out", "correct", "held out")
    names = ("step", "seconds", *quarters, *figures, *(f"avg. {name}" for name in figures))
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for point in points:
        shown = [f"{value:.3f}" for value in point.trained.quarters]
        for of in (point.trained, point.averaged):
            shown += [f"{value:.3f}" for value in (of.loss, of.held_out_loss, *of.correct)]
        print(f"| {point.step} | {point.seconds:.0f} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
