"""`distill data …`, called in this process."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from distill_core.cli.data import app


def run(*arguments: object) -> Result:
    """One command; a DistillError is raised, as the root command wants it."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
