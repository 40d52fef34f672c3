"""``distill run RUN.yaml``: train, or with ``--dry-run`` only check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="STEP|PATH",
            help="Go on from this checkpoint, a step of the run or a folder step-00000100, not from the newest.",
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            "--nproc-per-node",
            metavar="N",
            min=1,
            help="Processes to train in on this machine, one per GPU; see docs/scale.md.",
        ),
    ] = 1,
) -> None:
    """Train what a run.yaml describes.

    An interrupted run goes on from its last checkpoint with the same command. Figures go to metrics.jsonl in its output_dir.
    """
    from distill_core.cli import training

    status = training.run(path, overrides or [], dry_run=dry_run, resume=resume, processes=processes)
    if status:
        raise typer.Exit(status)
