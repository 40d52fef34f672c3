"""``distill plan RUN.yaml``: what a run will need, before it has any weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from distill_core.cli.table import print_table
from distill_core.terminal import answer, document, notes, remark

if TYPE_CHECKING:
    from distill_core.planning.changes import Kept
    from distill_core.planning.plan import Plan, Verdict
    from distill_core.ranks.layout import Layout

Gpu = Literal["12GB", "24GB", "48GB", "80GB", "141GB"]


def plan(
    path: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run to plan.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Keys of the YAML to override, e.g. training.train_batch_size=2"),
    ] = None,
    gpu: Annotated[
        Gpu | None,
        typer.Option(help="One card, and what to change where the run does not fit it.", show_default=False),
    ] = None,
    gpus: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="How many of them the run is spread over, as its section distributed says."
        ),
    ] = 1,
    profile: Annotated[
        Gpu | None,
        typer.Option(help="Print nothing but the overrides that make the run fit this card.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data; sizes are in bytes.")] = False,
) -> None:
    """Say how much memory a run needs, of what, on which GPU it fits, and about how long a step takes.

    The run's own step is played on tensors without content: neither weights nor a GPU are needed. A folder of JSON files will do for a
    model, and where data.path is not there, data.num_frames, data.num_height and data.num_width.
    """
    from distill_core.planning.plan import as_json as plain

    if profile is not None and (as_json or gpu not in (None, profile)):
        other = "--json" if as_json else f"--gpu {gpu}"
        raise typer.BadParameter(f"prints the overrides for one card alone; leave {other} out", param_hint="--profile")
    card = gpu if profile is None else profile
    said = [] if overrides is None else overrides
    made, verdicts, kept, more = _planned(path, said, card, gpus, spread=profile is None, silent=as_json)
    if profile is not None:
        _print_profile(made, verdicts[0], kept)
    elif as_json:
        import json

        others = {"gpus": gpus, "changes": _plain(kept), "on_more_gpus": _plain_more(more)}
        document(json.dumps({**plain(made, verdicts), **others}, indent=2) + "\n")
    else:
        _print(made, verdicts)
        if card is not None and not verdicts[0].fits:
            _print_changes(verdicts[0], kept)
            if more is not None:
                _print_more(verdicts[0], more)


def _planned(
    path: Path, overrides: Sequence[str], gpu: str | None, gpus: int, *, spread: bool, silent: bool
) -> tuple[Plan, list[Verdict], list[Kept], Kept | str | None]:
    """The plan, how it does on the cards, and where it does not fit the one card that is asked for, what to change, or how many to take.

    ``spread``: whether more GPUs are an answer. ``silent``: nothing is shown meanwhile.
    """
    from distill_core.cli.waiting import waiting
    from distill_core.plugins.discovery import discover
    from distill_core.plugins.weightless import weightless

    index = discover()
    for warning in index.warnings:
        remark(f"warning: {warning}")
    with waiting(f"checking {path}", silent=silent) as say, weightless():
        from distill_core.config.overrides import undone
        from distill_core.planning.cards import CARDS
        from distill_core.planning.changes import Planner, fitting, on_more_gpus

        make = Planner(path, overrides, index, say, gpus)
        made = make([])
        notes(undone(overrides))
        if gpu is None:
            return made, [made.on(card) for card in CARDS.values()], [], None
        card = CARDS[gpu]
        kept = fitting(made, card, make, say)
        fits = (kept[-1].plan if kept else made).on(card).fits and all(each.change.same for each in kept)
        more = None if fits or not spread else on_more_gpus(made, kept, card, make, say)
        return made, [made.on(card)], kept, more


def _plain(kept: Sequence[Kept]) -> list[dict[str, object]]:
    return [
        {"overrides": list(each.change.overrides), "price": each.change.price, "peak": each.plan.peak} for each in kept
    ]


def _plain_more(more: Kept | str | None) -> object:
    if more is None or isinstance(more, str):
        return more
    return {"gpus": more.change.gpus, **_plain([more])[0]}


def _print_more(verdict: Verdict, more: Kept | str) -> None:
    """On how many GPUs it fits with the training as it is."""
    if isinstance(more, str):
        answer(f"\non more GPUs: {more}")
        return
    gpus, keys = more.change.gpus, " ".join(more.change.overrides)
    spare = _size(more.plan.on(verdict.card).spare)
    answer(f"\nor on {gpus} GPUs, {more.change.price}: --nproc-per-node {gpus} {keys}")
    answer(f"peak {_size(more.plan.peak)} on each, spare {spare}")


def _print_profile(plan: Plan, verdict: Verdict, kept: Sequence[Kept]) -> None:
    """The overrides, one a line. Raises PlanError where even all of them are not enough."""
    from distill_core.errors import PlanError

    last = kept[-1].plan if kept else plan
    if not last.on(verdict.card).fits:
        raise PlanError(
            f"the run takes {_size(last.peak)} GiB at least, and {verdict.card.name} has {_size(verdict.card.usable)}; "
            "take a larger card, or smaller samples"
        )
    for each in kept:
        for override in each.change.overrides:
            answer(override)


def _print_changes(verdict: Verdict, kept: Sequence[Kept]) -> None:
    """What to add, in order, and what comes of it."""
    enough = bool(kept) and kept[-1].plan.on(verdict.card).fits
    answer("\nto make it fit, add in this order" if enough else "\nit does not fit, whatever is changed; this helps")
    print_table(
        ("KEY=VALUE", "PRICE", "PEAK", "SPARE"),
        [
            (
                " ".join(f"'{override}'" if " " in override else override for override in each.change.overrides),
                each.change.price,
                _size(each.plan.peak),
                _size(each.plan.on(verdict.card).spare),
            )
            for each in kept
        ],
    )


def _shared(layout: Layout) -> str:
    """How GPUs hold models and clips."""
    weights = f"weights in {layout.shard} parts" if layout.shard > 1 else "whole weights on each"
    copies = "" if 1 in (layout.shard, layout.replicate) else f", {layout.replicate} times"
    clips = (
        ""
        if layout.context == 1
        else f"; each clip's tokens in {layout.context} parts, whose exchanges no time is counted for"
    )
    return f"{weights}{copies}{clips}"


def _print(plan: Plan, verdicts: Sequence[Verdict]) -> None:
    run, data, layout = plan.subject.run, plan.subject.data, plan.subject.layout
    training, shape = run.config.training, list(plan.subject.latent_shape)
    batch = f"{training.train_batch_size} × {training.gradient_accumulation_steps}"
    spread = "" if plan.subject.ranks == 1 else f" over {plan.subject.ranks} GPUs"
    answer(
        f"method {run.method.name}, {plan.subject.placement.compute}, samples [T, C, H, W] = {shape}, batch {batch}{spread}"
    )
    if plan.subject.ranks > 1:
        answer(f"what one of them holds and computes; {_shared(layout)}")
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
    _print_cards(plan, verdicts)
    rows = "not there yet" if data.rows is None else f"{data.rows} rows, {_size(data.rows * data.row_bytes)} GiB"
    answer(f"\na step: {plan.flops / 1e12:.4g} TFLOP; a checkpoint: {_size(plan.trial.checkpoint)} GiB; data: {rows}")
    if plan.trial.snapshot:
        copy = (
            "its copy of that in host memory, of each process"
            if plan.subject.ranks > 1
            else "a copy of it in host memory"
        )
        answer(f"checkpoint.mode is async: {copy}: {_size(plan.trial.snapshot)} GiB; sync keeps none")


def _print_cards(plan: Plan, verdicts: Sequence[Verdict]) -> None:
    """How it does on each, and what several of them send each other."""
    print_table(
        ("GPU", "USABLE", "FITS", "SPARE", "SECONDS A STEP", *(("SENDING",) if plan.sent else ())),
        [
            (
                f"{each.card.name} ({each.card.example})",
                _size(each.card.usable),
                "yes" if each.fits else "no",
                _size(each.spare),
                _seconds(each.seconds),
                *((f"{_seconds(each.sending)} by {each.card.by}",) if plan.sent else ()),
            )
            for each in verdicts
        ],
    )
    if plan.sent:
        by_role = ", ".join(f"{name} {_size(round(size))}" for name, size in plan.sent.items())
        answer(
            f"\neach GPU gets from others in a step, and gives as much: {by_role}; SENDING is within one machine, and goes on while"
        )
        answer(
            "GPUs compute: a step takes the longer of the two at least, their sum at most; between machines, divide by their link"
        )


def _seconds(seconds: float) -> str:
    return f"about {seconds:.0f}" if seconds >= 10 else f"about {seconds:.2g}"


def _size(size: int) -> str:
    """In GiB; nothing is a dash."""
    return "–" if not size else f"{size / (1 << 30):.2f}"


def _count(number: int) -> str:
    return "–" if not number else f"{number / 1e9:.3f} B" if number >= 1e8 else f"{number / 1e6:.3f} M"
