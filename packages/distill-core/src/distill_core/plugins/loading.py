"""Importing what a spec names as ``"module:Name"``, once a run needs it."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from distill_core.errors import PluginError
from distill_core.plugins.border import RefusedError, plugin_border


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
