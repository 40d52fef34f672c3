"""``distill plugins``: what is installed, what each plugin needs and offers, whether it loads, and what works with what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from distill_core.terminal import answer, document, remark

if TYPE_CHECKING:
    from distill_core.plugins.index import PluginIndex

app = typer.Typer(help="What is installed, what works, and what works with what.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _index() -> PluginIndex:
    """The installed plugins; what is wrong with them goes to stderr."""
    from distill_core.plugins.discovery import discover

    index = discover()
    for warning in index.warnings:
        _note(f"warning: {warning}")
    return index


def _note(line: str) -> None:
    """A line for the person, beside what the command prints."""
    remark(line)


def _print_json(value: object) -> None:
    answer(json.dumps(value, indent=2, ensure_ascii=False))


@app.command("list")
def list_plugins(
    as_json: AsJson = False,
    hooks: Annotated[bool, typer.Option("--hooks", help="Show the hooks that each plugin implements.")] = False,
) -> None:
    """List the installed plugins. A broken one is a row with its reason; the exit status is 0."""
    from distill_core.cli.listing import listing, tell

    found = listing()
    if as_json:
        for warning in found.warnings:
            _note(f"warning: {warning}")
        _print_json([{**row.shown, **({"hooks": list(row.hooks)} if hooks else {})} for row in found.rows])
    else:
        tell(found, hooks=hooks)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name or a package, as `distill plugins list` has it.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list: one card for each plugin of that name.")
    ] = False,
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="Print the JSON Schema of the options of the one plugin of that name.")
    ] = False,
) -> None:
    """Show where a plugin comes from, what it needs and its options.

    The exit status is 2 for an unknown name.
    """
    from distill_core.cli.card import card, print_card, schema_of
    from distill_core.plugins.discovery import discover

    rows = discover().named(name)
    if json_schema:
        _print_json(schema_of(rows))
    elif as_json:
        _print_json([card(row) for row in rows])
    else:
        for number, row in enumerate(rows):
            document("\n" if number else "")
            print_card(row)


@app.command()
def check(as_json: AsJson = False) -> None:
    """Import all that the plugins name, one line each.

    The exit status is 1 if anything failed.
    """
    from distill_core.cli.failure import show_traceback
    from distill_core.cli.waiting import waiting
    from distill_core.plugins.check import check_row
    from distill_core.plugins.discovery import discover

    rows = discover().rows
    outcomes = []
    with waiting("importing") as say:
        for row in rows:
            say(f"importing {row.name} of {row.package}")
            outcome = check_row(row)
            outcomes.append(outcome)
            if not as_json:
                answer(f"{row.kind:6} {row.name} ({row.package} {row.version}): {outcome.line}")
            if outcome.cause is not None:
                show_traceback(outcome.cause)
    if as_json:
        _print_json(
            [
                {**row.as_json(), "failed": outcome.failed, "outcome": outcome.line}
                for row, outcome in zip(rows, outcomes, strict=True)
            ]
        )
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def matrix(as_json: AsJson = False) -> None:
    """Show which method works with which model.

    Where one does not, why not, and what that means; and which models share a latent space, so that one run can use both.
    """
    from dataclasses import asdict

    from distill_core.cli.table import print_table
    from distill_core.plugins.fit import matrix as fits_of
    from distill_core.plugins.fit import meanings, shared_spaces

    index = _index()
    fits = fits_of(index.methods.values(), index.models.values())
    spaces = shared_spaces(index.models.values())
    if as_json:
        _print_json({"fits": [{**asdict(fit), "works": fit.works} for fit in fits], "latent_spaces": spaces})
        return
    if fits:
        print_table(("METHOD", "MODEL", "WORKS"), ((fit.method, fit.model, fit.verdict) for fit in fits))
    else:
        missing = [kind for kind, specs in (("model", index.models), ("method", index.methods)) if not specs]
        _note(f"nothing to match: no {' and no '.join(missing)} can be used; see `distill plugins list`")
    lacking = meanings(fits)
    if lacking:
        document("\n")
        print_table(("WHAT IS LACKING", "IN WORDS"), lacking.items())
    if spaces:
        document("\n" if fits else "")
        print_table(("LATENT SPACE", "MODELS"), ((space, ", ".join(names)) for space, names in spaces.items()))
