"""``distill plan`` against itself and against the real thing.

python -m benchmarks.plan measured    plan ÷ measured, phase by phase, for runs of tiny pipelines on this CPU
python -m benchmarks.plan published   docs/plan.md's table: which published Wan runs on which card; of those whose names follow
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from benchmarks.published_wan import PUBLISHED, Published, write_configs

from distill_core.config.document import write_yaml
from distill_core.errors import ConfigError
from distill_core.planning.cards import CARDS, GIB
from distill_core.planning.plan import Plan
from distill_core.planning.subject import subject_of
from distill_core.planning.trial import play
from distill_core.plugins.discovery import discover
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.weightless import weightless

ROLES = {"finetune": ("student",), "dmd2": ("student", "teacher", "critic")}
FULL, BF16 = "training.enable_gradient_checkpointing_type=full", "training.precision=bf16"
LORA = "lora={rank: 64}"
GPUS = 8
VARIED: tuple[tuple[str, ...], ...] = (
    ("", FULL),
    ("", BF16),
    ("", "training.gradient_accumulation_steps=2"),
    ("", "training.train_batch_size=2"),
    ("", "roles.student.ema.decay=0.9"),
    ("", "roles.student.lora={rank: 4}"),
)


def write_run(folder: Path, model: Path, method: str, size: tuple[int, int, int]) -> Path:
    """A run.yaml whose data are not there."""
    frames, height, width = size
    run = {
        "recipe": {"family": "wan", "method": method},
        "roles": {name: {"path": str(model), "trainable": name != "teacher"} for name in ROLES[method]},
        "data": {"path": str(folder / "none"), "num_frames": frames, "num_height": height, "num_width": width},
        "training": {"max_train_steps": 100},
        "output_dir": str(folder / "run"),
    }
    path = folder / f"{method}.yaml"
    path.write_text(write_yaml(run), encoding="utf-8")
    return path


def planned(path: Path, overrides: Sequence[str], index: PluginIndex, *, on_card: bool, gpus: int = 1) -> Plan:
    """Without weights."""
    with weightless():
        subject = subject_of(path, overrides, index, on_card=on_card, ranks=gpus)
        return Plan(subject, play(subject, lambda _: None))


def measured(folder: Path, index: PluginIndex) -> Iterator[tuple[str, ...]]:
    """A line for each run, with the phase that is furthest off."""
    from distill_model_wan.testing import make_tiny_pipeline

    for variant, method in product(("t2v", "ti2v"), ROLES):
        path = write_run(folder, make_tiny_pipeline(folder / variant, variant), method, (9, 64, 64))
        for chosen in product(*VARIED):
            overrides = [override for override in chosen if override]
            plan = planned(path, overrides, index, on_card=False)
            real = play(plan.subject, lambda _: None, hollow=False)
            pairs = [
                (mine.peak / true.peak, true.name)
                for here, there in zip(plan.trial.played, real.played, strict=True)
                for mine, true in zip(here.phases, there.phases, strict=True)
            ]
            ratio, name = max(pairs, key=lambda pair: abs(pair[0] - 1.0))
            yield variant, method, " ".join(overrides), f"{plan.peak / real.peak.peak:.4f}", f"{ratio:.4f}", name


def published(folder: Path, index: PluginIndex, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A line for each model, method and way of training."""
    for model in PUBLISHED:
        if names and not any(name in model.name for name in names):
            continue
        pipeline = write_configs(folder / model.name, model)
        for method, mode in product(ROLES, ("full", "LoRA")):
            trained = [name for name in ROLES[method] if name != "teacher"] if mode == "LoRA" else []
            overrides = [FULL, *(f"roles.{name}.{LORA}" for name in trained)]
            path = write_run(folder, pipeline, method, model.size)
            plan = planned(path, overrides, index, on_card=True)
            yield _row(model, method, mode, plan, *_spread(path, overrides, index))


def _spread(path: Path, overrides: Sequence[str], index: PluginIndex) -> tuple[str, str]:
    """The peak on each of eight GPUs, one sample each, and the smallest cards on which that fits."""
    try:
        plan = planned(path, (*overrides, f"training.train_batch_size={GPUS}"), index, on_card=True, gpus=GPUS)
    except ConfigError as refusal:
        if "distributed.shard" not in str(refusal):
            raise
        return "refused", "–"
    verdicts = [verdict for card in CARDS.values() if (verdict := plan.on(card)).fits]
    return f"{plan.peak / GIB:.1f}", f"{verdicts[0].card.name}, {verdicts[0].seconds:.0f} s" if verdicts else "–"


def _row(model: Published, method: str, mode: str, plan: Plan, *spread: str) -> tuple[str, ...]:
    held = sum(
        held.weights + held.gradients + held.optimizer + held.average for held in plan.held if held.name != "encoders"
    )
    verdicts = [plan.on(CARDS[name]) for name in ("24GB", "48GB", "80GB", "141GB")]
    shown = [f"{verdict.seconds:.0f} s" if verdict.fits else "–" for verdict in verdicts]
    return (
        f"{model.name}, {'×'.join(map(str, model.size))}",
        method,
        mode,
        f"{held / GIB:.1f}",
        f"{plan.peak / GIB:.1f}",
        *shown,
        *spread,
    )


def main(what: str, *names: str) -> None:
    """Print a table as it comes."""
    index = discover()
    with tempfile.TemporaryDirectory() as folder:
        if what == "published":
            headers = "model | method | trained | held, GiB | peak, GiB | 24 GB | 48 GB | 80 GB | 141 GB | 8 GPUs: peak of each, GiB | 8 of"
            rows = published(Path(folder), index, names)
        else:
            headers, rows = "variant | method | overrides | peak | furthest | its phase", measured(Path(folder), index)
        print(f"| {headers} |\n|" + "---|" * (headers.count("|") + 1))
        for row in rows:
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
