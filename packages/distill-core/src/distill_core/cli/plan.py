"""``distill plan RUN.yaml``: what a run will need, before it has any weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from distill_core.cli.table import print_table
from distill_core.terminal import answer, document, remark

if TYPE_CHECKING:
    from distill_core.planning.plan import Plan, Verdict

Gpu = Literal["12GB", "24GB", "48GB", "80GB", "141GB"]


def plan(
    path: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run to plan.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Keys of the YAML to override, e.g. training.train_batch_size=2"),
    ] = None,
    gpu: Annotated[Gpu | None, typer.Option(help="One card; all are shown otherwise.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data; sizes are in bytes.")] = False,
) -> None:
    """Say how much memory a run needs, of what, on which GPU it fits, and about how long a step takes.

    The run's own step is played on tensors without content: neither weights nor a GPU are needed. A folder of JSON files will do for a
    model, and where data.path is not there, data.num_frames, data.num_height and data.num_width.
    """
    made, verdicts = _planned(path, [] if overrides is None else overrides, gpu)
    if as_json:
        import json

        from distill_core.planning.plan import as_json as plain

        document(json.dumps(plain(made, verdicts), indent=2) + "\n")
        return
    _print(made, verdicts)


def _planned(path: Path, overrides: Sequence[str], gpu: str | None) -> tuple[Plan, list[Verdict]]:
    from distill_core.cli.waiting import waiting
    from distill_core.plugins.discovery import discover
    from distill_core.plugins.weightless import weightless

    index = discover()
    for warning in index.warnings:
        remark(f"warning: {warning}")
    with waiting(f"checking {path}") as say, weightless():
        from distill_core.planning.cards import CARDS
        from distill_core.planning.plan import Plan
        from distill_core.planning.subject import subject_of
        from distill_core.planning.trial import play

        subject = subject_of(path, overrides, index, on_card=True)
        made = Plan(subject, play(subject, say))
    cards = CARDS.values() if gpu is None else [CARDS[gpu]]
    return made, [made.on(card) for card in cards]


def _print(plan: Plan, verdicts: Sequence[Verdict]) -> None:
    run, data = plan.subject.run, plan.subject.data
    training, shape = run.config.training, list(plan.subject.latent_shape)
    batch = f"{training.train_batch_size} × {training.gradient_accumulation_steps}"
    answer(f"method {run.method.name}, {plan.subject.placement.compute}, samples [T, C, H, W] = {shape}, batch {batch}")
    answer("sizes in GiB\n")
    kinds = ("PARAMETERS", "TRAINED", "WEIGHTS", "GRADIENTS", "OPTIMIZER", "AVERAGE")
    print_table(
        ("ROLE", *kinds),
        [
            (
                held.name,
                *(_count(each) for each in (held.parameters, held.trained)),
                *(_size(each) for each in (held.weights, held.gradients, held.optimizer, held.average)),
            )
            for held in plan.held
        ],
    )
    answer("")
    print_table(
        ("OF", "PHASE", "PEAK", "ROLES", "ACTIVATIONS", "WORKSPACE"),
        [
            (each.of, each.name, *(_size(size) for size in (each.peak, each.held, each.activations, each.workspace)))
            for each in plan.stretches
        ],
    )
    answer("")
    print_table(
        ("GPU", "USABLE", "FITS", "SPARE", "SECONDS A STEP"),
        [
            (
                f"{each.card.name} ({each.card.example})",
                _size(each.card.usable),
                "yes" if each.fits else "no",
                _size(each.spare),
                f"about {each.seconds:.2g}",
            )
            for each in verdicts
        ],
    )
    rows = "not there yet" if data.rows is None else f"{data.rows} rows, {_size(data.rows * data.row_bytes)} GiB"
    answer(f"\na step: {plan.flops / 1e12:.4g} TFLOP; a checkpoint: {_size(plan.trial.checkpoint)} GiB; data: {rows}")


def _size(size: int) -> str:
    """In GiB; nothing is a dash."""
    return "–" if not size else f"{size / (1 << 30):.2f}"


def _count(number: int) -> str:
    return "–" if not number else f"{number / 1e9:.3f} B" if number >= 1e8 else f"{number / 1e6:.3f} M"
