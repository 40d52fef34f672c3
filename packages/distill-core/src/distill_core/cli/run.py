"""``distill run RUN.yaml``: train, or with ``--dry-run`` only check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from distill_core.build import Prepared


def run(
    path: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run to train.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Keys of the YAML to override, e.g. training.seed=1"),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check the run, its plugins, models and data; print it in full; load no weights."
        ),
    ] = False,
) -> None:
    """Train what a run.yaml describes.

    An interrupted run goes on from its last checkpoint with the same command. Figures go to metrics.jsonl in its output_dir.
    """
    from rich.console import Console

    from distill_core.cli.waiting import waiting
    from distill_core.config.resolve import open_run
    from distill_core.plugins.discovery import discover

    index = discover()
    console = Console(stderr=True)
    with waiting(f"checking {path}") as say:
        resolved = open_run(path, overrides or [], index)
        for line in (*(f"warning: {each}" for each in index.warnings), *(f"note: {each}" for each in resolved.notes)):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        say("importing torch, checking the data")
        from distill_core.build import prepare
        from distill_core.run_directory import RunDirectory

        with resolved.loaded.blamed():
            prepared = prepare(resolved)
        directory = RunDirectory(Path(resolved.config.output_dir))
        directory.claim(resolved.to_mapping())
    if dry_run:
        _print_plan(prepared)
        return
    from distill_core.session import train

    with resolved.loaded.blamed():
        outcome = train(prepared, directory, [row.as_json() for row in index.rows], console)
    summary = outcome.training
    console.print(
        f"done: step {summary.step} in {summary.seconds:.0f} s; run directory {directory.root}",
        highlight=False,
        soft_wrap=True,
    )
    if outcome.comparison is not None:
        from distill_core.cli.table import print_table

        table, page = outcome.comparison
        print_table(table.headers, table.cells)
        console.print(f"the clips play side by side in {page}", highlight=False, soft_wrap=True)


def _print_plan(prepared: Prepared) -> None:
    """The resolved run as YAML on stdout, with what was found as comments, so that the output is a run.yaml itself."""
    from distill_core.config.checks import family_of
    from distill_core.config.document import write_yaml
    from distill_core.redaction import redact_mapping

    run = prepared.run
    typer.echo(f"# method {run.method.name}: {run.method.summary}")
    for role, facts in run.facts.items():
        state = "trained" if run.config.roles[role].trainable else "frozen"
        typer.echo(f"# {role}: {state}, {family_of(run.config, role)}, {facts.summary} ({facts.path})")
    typer.echo(f"# data: {len(prepared.dataset)} rows, latents [T, C, H, W] = {list(prepared.latent_shape)}")
    typer.echo(f"# device: {prepared.placement.device}, forward passes in {prepared.placement.compute}")
    typer.echo(write_yaml(redact_mapping(run.to_mapping())), nl=False)
