"""The command line: ``distill``. Each command is a module here; none imports torch before it is run."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave by SystemExit; see :func:`distill_core.cli.app.main`. Ctrl-C while it starts is no traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        # What is kept is told before the command line is built, which takes four times as long.
        if list(given) == ["plugins", "list"]:
            from distill_core.cli.listing import tell_kept

            tell_kept()
        from distill_core.cli.app import main as run_command
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run_command(given)


__all__ = ["main"]
