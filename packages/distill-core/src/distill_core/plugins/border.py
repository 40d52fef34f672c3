"""The plugin border: the one place where code that the core has never seen may raise anything at all.

What is caught here is kept and shown by the caller; nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from distill_core.memory_full import ran_out

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class RefusedError(Exception):
    """Why a plugin cannot be used. ``__cause__`` is what the plugin raised, if it raised."""

    def __init__(self, status: Literal["failed", "incompatible"], reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def describe(error: BaseException) -> str:
    """An error in one line, e.g. ``ModuleNotFoundError: No module named 'flash_attn'``."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def reason(error: BaseException) -> str:
    """Why something is not what was written, in one line: whoever checks that raises ValueError, and says it; any other error is named."""
    message = " ".join(str(error).split())
    return message if isinstance(error, ValueError) and message else describe(error)


def words_of(fault: ErrorDetails) -> str:
    """What is wrong with a value that pydantic refuses: what a check raised in its own words, without pydantic's before them."""
    raised = fault.get("ctx", {}).get("error")
    return str(raised) if isinstance(raised, Exception) else fault["msg"]


@contextmanager
def plugin_border(doing: str = "") -> Iterator[None]:
    """Turn whatever a plugin raises inside into a RefusedError; ``doing`` says what it was asked for.

    A plugin that calls ``sys.exit`` ends itself, not us; Ctrl-C still ends us, and memory that ran out is nobody's fault.
    """
    try:
        yield
    except RefusedError:
        raise
    except (Exception, SystemExit) as error:
        if ran_out(error) is not None:
            raise
        raise RefusedError("failed", f"{doing} raised {describe(error)}" if doing else describe(error)) from error
