"""The command line: ``distill``. Each command is a module here; none imports torch before it is run."""

from distill_core.cli.app import main

__all__ = ["main"]
