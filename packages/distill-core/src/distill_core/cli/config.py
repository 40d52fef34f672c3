"""``distill config``: questions about a run.yaml, answered without loading a weight."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill_core.printable import visible
from distill_core.terminal import document

app = typer.Typer(help="Check a run.yaml, or print the schema that an editor checks it with.", no_args_is_help=True)


@app.command()
def check(
    run_yaml: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The file to check.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Keys of the YAML to override, e.g. training.seed=1"),
    ] = None,
) -> None:
    """Say ok, or all that is wrong with a run.yaml: its plugins, its models' folders, its data, and whether its output_dir is free.

    Notes on stderr say what is right, and easily missed.

    What `distill run --dry-run` checks, without printing the run. Weights are not loaded: that they fit into memory, that every row of the
    data can be read (`distill data validate`) and that a tracker answers is found out by the run itself.
    """
    from distill_core.cli import training

    training.check(run_yaml, [] if overrides is None else overrides)


@app.command()
def schema(
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to this file instead of standard output.", show_default=False),
    ] = None,
) -> None:
    """Print one JSON Schema of run.yaml, with the options of the installed plugins."""
    import json

    from distill_core.config.json_schema import run_schema
    from distill_core.errors import RunDirectoryError
    from distill_core.plugins.discovery import discover

    text = json.dumps(run_schema(discover()), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        document(visible(text))
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunDirectoryError(
            f"cannot write {output}: {error.strerror}; name a file in a folder that exists"
        ) from error
