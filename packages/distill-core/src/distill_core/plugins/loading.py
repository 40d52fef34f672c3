"""Importing, and making, what a spec names as ``"module:Name"``, once a run needs it."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module
from types import TracebackType
from typing import Any

from distill_core.errors import DistillError, PluginError
from distill_core.memory_full import ran_out
from distill_core.plugins.border import RefusedError, describe, plugin_border


def load_target(target: str, needed_by: str = "") -> Any:
    """Import ``"module:Name"`` and return the object; Any, because what it must be is the caller's knowledge.

    ``needed_by`` names what it belongs to in the message, e.g. ``"method 'turbo'"``. Raises PluginError, from the
    original exception, if the module cannot be imported or has no such name.
    """
    module_name, _, name = target.partition(":")
    try:
        with plugin_border():
            return getattr(import_module(module_name), name)
    except RefusedError as refusal:
        owner = f"{needed_by}: " if needed_by else ""
        remedy = _remedy(module_name, name, refusal.__cause__)
        raise PluginError(f"{owner}cannot load {target!r}: {refusal.reason}; {remedy}") from refusal.__cause__


def make_target(target: str, owner: str, *arguments: Any, error: type[PluginError] = PluginError) -> Any:
    """Import ``"module:Name"`` and call it: what an ``owner``, e.g. ``"method 'turbo'"``, has to be made of before it can work.

    Raises what :func:`load_target` raises, and an ``error`` that names the owner for whatever else the call raises.
    """
    made = load_target(target, owner)
    with CodeOf(owner, f"making {target.rpartition(':')[2]}", error=error, passing=(OSError,)):
        return made(*arguments)


class CodeOf:
    """What a plugin's code raises inside is an ``error`` that names its owner and what it was doing; a DistillError stays what it is.

    So does memory that ran out, and what is ``passing``: OSError where files are read or written, for a full disk is no fault of a plugin.
    No generator, which costs five times as much where it stands in a step.
    """

    def __init__(
        self,
        owner: str,
        doing: str,
        *,
        error: type[PluginError] = PluginError,
        passing: tuple[type[Exception], ...] = (),
    ) -> None:
        self._said = f"{owner}: {doing}"
        self._error = error
        self._passing: tuple[type[Exception], ...] = (DistillError, *passing)

    def __enter__(self) -> None:
        """Nothing is needed before."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise in its place what is to be said of an error of the plugin's."""
        if (
            isinstance(error, Exception | SystemExit)
            and not isinstance(error, self._passing)
            and ran_out(error) is None
        ):
            raise self._error(f"{self._said} raised {describe(error)}; DISTILL_TRACEBACK=1 shows where") from error


def _remedy(module_name: str, name: str, error: BaseException | None) -> str:
    """What to do about it: a name that was misspelt, a package that is missing, or a plugin to be repaired."""
    if isinstance(error, AttributeError) and module_name in sys.modules:
        close = get_close_matches(name, vars(sys.modules[module_name]), n=1)
        if close:
            return f"did you mean {module_name}:{close[0]}?"
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        missing = error.name.partition(".")[0]
        if missing != module_name.partition(".")[0]:
            return f"install {missing}, which it imports"
    return f"repair or reinstall the package of {module_name}"
