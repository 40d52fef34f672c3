"""``distill plugins``: what is installed, what each plugin needs and offers, whether it loads, and what works with what."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from distill_core.plugins.index import PluginIndex

app = typer.Typer(help="What is installed, what works, and what works with what.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _index() -> PluginIndex:
    """The installed plugins; what is wrong with them goes to stderr."""
    from distill_core.plugins.discovery import discover

    index = discover()
    for warning in index.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return index


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


@app.command("list")
def list_plugins(
    as_json: AsJson = False,
    hooks: Annotated[bool, typer.Option("--hooks", help="Show the hooks that each plugin implements.")] = False,
) -> None:
    """List the installed plugins. A broken one is a row with its reason; the exit status is 0."""
    from distill_core.cli.table import print_table

    rows = _index().rows
    if as_json:
        _print_json([{**row.as_json(), **({"hooks": list(row.hooks)} if hooks else {})} for row in rows])
        return
    headers = ("NAME", "KIND", "PACKAGE", "VERSION", *(("HOOKS",) if hooks else ()), "STATUS")
    cells = (
        (row.name, row.kind, row.package, row.version, *((" ".join(row.hooks),) if hooks else ()), row.status_line)
        for row in rows
    )
    print_table(headers, cells)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A model or a method, as `distill plugins list` names it.")],
    as_json: AsJson = False,
    json_schema: Annotated[bool, typer.Option("--json-schema", help="Print the JSON Schema of its options.")] = False,
) -> None:
    """Show one plugin: where it comes from, what it needs or offers, and its options."""
    from distill_core.cli.card import card, print_card, schema_of
    from distill_core.plugins.discovery import discover

    for row in discover().named(name):
        if json_schema:
            _print_json(schema_of(row))
        elif as_json:
            _print_json(card(row))
        else:
            print_card(row)


@app.command()
def check() -> None:
    """Import everything that every plugin names, one line each. The exit status is 1 if anything failed."""
    from distill_core.plugins.check import check_row
    from distill_core.plugins.discovery import discover

    failed = False
    for row in discover().rows:
        outcome = check_row(row)
        failed = failed or outcome.failed
        print(f"{row.kind:6} {row.name} ({row.package} {row.version}): {outcome.line}")
    if failed:
        raise typer.Exit(1)


@app.command()
def matrix(as_json: AsJson = False) -> None:
    """Show which method works with which model, and why not where not; and which models share a latent space."""
    from dataclasses import asdict

    from distill_core.cli.table import print_table
    from distill_core.plugins.fit import matrix as fits_of
    from distill_core.plugins.fit import shared_spaces

    index = _index()
    fits = fits_of(index.methods.values(), index.models.values())
    spaces = shared_spaces(index.models.values())
    if as_json:
        _print_json({"fits": [{**asdict(fit), "works": fit.works} for fit in fits], "latent_spaces": spaces})
        return
    print_table(("METHOD", "MODEL", "WORKS"), ((fit.method, fit.model, fit.verdict) for fit in fits))
    print()
    print_table(("LATENT SPACE", "MODELS"), ((space, ", ".join(names)) for space, names in spaces.items()))
