"""What a person sees of an error: one message on stderr, and the traceback where DISTILL_TRACEBACK=1 asks for it.

Decides no exit status and catches nothing.
"""

from __future__ import annotations

import errno
import os
import sys

from distill_core.terminal import console, remark, shown

TRACEBACK = "DISTILL_TRACEBACK"

_REMEDIES = {
    errno.ENOSPC: "free some space there, or write elsewhere",
    errno.EDQUOT: "free some of your quota, or write elsewhere",
    errno.EACCES: "name a path that you may use",
    errno.EPERM: "name a path that you may use",
    errno.EROFS: "name a path on a disk that can be written to",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.ENAMETOOLONG: "shorten it",
    errno.EISDIR: "name a file",
}


def report(error: BaseException, message: str) -> None:
    """Print the message, in colour on a terminal, after the traceback if that is asked for."""
    show_traceback(error)
    if sys.stderr.isatty():
        from rich.text import Text

        console().print(Text.assemble(("error: ", "bold red"), shown(message)), soft_wrap=True)
    else:
        remark(f"error: {message}")


def show_traceback(error: BaseException) -> None:
    """Print where an error came from, and what it followed from, if DISTILL_TRACEBACK asks for it."""
    if os.environ.get(TRACEBACK, "0") not in ("", "0"):
        import traceback

        traceback.print_exception(error)


def system_fault(error: OSError) -> str:
    """An error of the operating system in a line: the path, what is wrong with it, and what to do."""
    if error.errno is None or error.strerror is None:
        return str(error)
    path = "" if error.filename is None else f"{error.filename}: "
    remedy = _REMEDIES.get(error.errno)
    return f"{path}{error.strerror}" if remedy is None else f"{path}{error.strerror}; {remedy}"
