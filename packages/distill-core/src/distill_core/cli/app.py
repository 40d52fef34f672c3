"""The root of the command line: its commands, its global options, and what becomes of an error.

Knows no command's work. ``--no-plugin`` is a matter of the environment, so that it holds for child processes too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from distill_core import __version__
from distill_core.cli import config, data, export, importing, plan, plugins, run, sample, verify
from distill_core.cli.leaving import leaving
from distill_core.printable import visible
from distill_core.terminal import answer

EXIT_STATUSES = (
    "Exit status: 0 done, 1 a check failed or a bug, 2 a mistake in the command, the run.yaml, a plugin or a model folder, 65 the data, "
    "66 the checkpoint, 70 a method's code, 71 memory, 73 the output folder, "
    "74 the disk, 76 a loss that is not finite, 79 another process of the run, 130 Ctrl-C, 128 + N a cluster's signal N."
)


class _InOwnWords(TyperGroup):
    """The commands, of which typer has pydantic read the arguments."""

    def invoke(self, ctx: Any) -> Any:
        """Run one; why an argument is refused is told without pydantic's words before it. Any: typer has the context's type in private."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as refusal:
            from pydantic import ValidationError

            from distill_core.plugins.border import words_of

            if isinstance(refusal.__cause__, ValidationError):
                refusal.message = visible(words_of(refusal.__cause__.errors()[0]))
            raise


app = typer.Typer(
    name="distill",
    cls=_InOwnWords,
    help="Turn a many-step video diffusion model into a few-step one. A run.yaml names a model and a method, each a plugin.",
    epilog=EXIT_STATUSES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
)
app.command()(run.run)
app.command()(plan.plan)
app.command()(sample.sample)
app.command()(export.export)
app.command()(verify.verify)
app.command(name="verify-resume")(verify.verify_resume)
app.command(name="rehearse", hidden=True)(verify.rehearse)
app.command(name="import")(importing.import_config)
app.add_typer(data.app, name="data")
app.add_typer(config.app, name="config")
app.add_typer(plugins.app, name="plugins")

NO_PLUGIN = "--no-plugin"


def _print_version(wanted: bool) -> None:
    if wanted:
        answer(f"distill {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    no_plugin: Annotated[
        list[str] | None,
        typer.Option(NO_PLUGIN, metavar="NAME", help="Leave out a plugin, by its name or its package's. Repeatable."),
    ] = None,
) -> None:
    """Options that hold for every command."""
    if no_plugin:
        from distill_core.plugins.policy import block

        block(os.environ, no_plugin)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave by SystemExit. ``arguments`` defaults to the process's.

    A DistillError becomes its message on stderr and its own exit status; ``DISTILL_TRACEBACK=1`` shows the traceback too.
    """
    with leaving():
        app(args=hoisted(sys.argv[1:] if arguments is None else arguments), prog_name="distill")


def hoisted(arguments: Sequence[str]) -> list[str]:
    """The arguments with every ``--no-plugin NAME`` in front, where the root command takes it, wherever it was written."""
    front: list[str] = []
    rest = list(arguments)
    end = rest.index("--") if "--" in rest else len(rest)
    position = 0
    while position < end:
        width = 2 if rest[position] == NO_PLUGIN else 1 if rest[position].startswith(f"{NO_PLUGIN}=") else 0
        front += rest[position : position + width]
        del rest[position : position + width]
        end -= width
        position += not width
    return front + rest
