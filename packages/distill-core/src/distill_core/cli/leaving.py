"""How a command leaves: what it raises is a message on stderr and an exit status, and what is buffered is written out. Knows no command."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from distill_core.cli.failure import report, system_fault
from distill_core.errors import DistillError, PeerError
from distill_core.memory_full import memory_told

IO_ERROR = 74
"""Exit status of a file that could not be read or written (EX_IOERR)."""


@contextmanager
def leaving() -> Iterator[None]:
    """What is raised inside is told, and becomes a SystemExit; ``DISTILL_TRACEBACK=1`` shows the traceback too."""
    _print_anything()
    try:
        with memory_told("ask for less at once: a smaller batch, fewer or smaller clips"):
            yield
    except DistillError as error:
        if not (isinstance(error, PeerError) and error.told):
            report(error, str(error))
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:  # a reader that has gone (``distill … | head``) is no error of ours
        raise SystemExit(1) from None
    except OSError as error:  # a full disk, a folder that may not be written to
        report(error, system_fault(error))
        raise SystemExit(IO_ERROR) from None
    finally:
        _flush()


def _print_anything() -> None:
    """Where stdout is no UTF-8, a letter that it does not have is written as an escape, as Python does on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Write out what is buffered, for a reader that may have gone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
