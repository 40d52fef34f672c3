"""The command line: ``distill``. Each command is a module here; none imports torch before it is run."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from distill_core.unswept import unswept


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave by SystemExit; see :func:`distill_core.cli.app.main`. Ctrl-C while it starts is no traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    # Threads of a CPU run that spin while they wait stall each other where the machine is busy: five times slower was seen on two cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Plugins of pydantic's own would look on at each validation: for them it reads the metadata of all that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        from distill_core.cli.plain import run_plain

        run_plain(given)
        with unswept():
            from distill_core.cli.app import main as run_command
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    finally:
        _end(arguments)
    try:
        run_command(given)
    finally:
        _end(arguments)


def _end(arguments: Sequence[str] | None) -> None:
    """Python looks through all modules for garbage as it ends. Where nothing was computed there is none to be found."""
    if arguments is None and "torch" not in sys.modules:
        gc.freeze()


__all__ = ["main"]
