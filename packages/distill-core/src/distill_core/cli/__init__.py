"""The command line: ``distill``. Each command is a module here; none imports torch before it is run."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave by SystemExit; see :func:`distill_core.cli.app.main`. Ctrl-C while it starts is no traceback."""
    try:
        from distill_core.cli.app import main as run_command
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run_command(arguments)


__all__ = ["main"]
