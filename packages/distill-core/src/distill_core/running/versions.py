"""Of which versions the code of a run is: its packages, those below them that are built on the core, and what all these require."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

CORE = "distill-core"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r";.*\bextra\s*==")


def versions_below(packages: Iterable[str]) -> dict[str, str]:
    """The versions of installed packages and of what they require, by name; without what a build adds to them (``+cpu``).

    Of what is neither the core nor built on it, what it requires itself is left out; so is what is not there, as of another system, and
    so are extras.
    """
    found: dict[str, str] = {}
    waiting = [CORE, *packages]
    while waiting:
        name = _plain(waiting.pop())
        if name in found:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = package.version.partition("+")[0]
        lines = () if package.requires is None else package.requires
        required = [_plain(match[0]) for each in lines if not _EXTRA.search(each) and (match := _NAME.match(each))]
        if name == CORE or CORE in required:
            waiting += required
    return found


def _plain(name: str) -> str:
    """As packages are looked up, however their names are written."""
    return re.sub(r"[-_.]+", "-", name).lower()
