"""Commands that are given without an option, and start before the command line is built, which takes as long as to check a run.yaml.

What is done and said is the same: the command line calls the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill_core.cli.leaving import leaving


def run_plain(arguments: Sequence[str]) -> None:
    """Run the command, if it is a plain one, and leave by SystemExit; nothing otherwise."""
    if any(word.startswith("-") for word in arguments):
        return
    match list(arguments):
        case ["plugins", "list"]:
            from distill_core.cli.listing import tell_kept

            tell_kept()
        case ["run", path, *overrides]:
            with leaving():
                from distill_core.cli import training

                raise SystemExit(training.run(Path(path), overrides))
        case ["config", "check", path, *overrides]:
            with leaving():
                from distill_core.cli import training

                training.check(Path(path), overrides)
                raise SystemExit(0)
