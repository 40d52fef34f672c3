"""What the installed plugins offer, kept in the user's cache, so that none has to be imported while nothing that it rests on has changed.

That is the installed packages, by what lies in the folders of ``sys.path``; every file that was imported when the plugins were asked, and
its folder; and the load and block lists. Where a plugin failed nothing is kept, since what it lacked may come from anywhere.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_core import __version__
from distill_core.durable import sealed, unsealed, write_text
from distill_core.user_cache import user_cache

if TYPE_CHECKING:
    from distill_core.plugins.index import PluginIndex

VARIABLES = ("DISTILL_LOAD_PLUGINS", "DISTILL_BLOCK_PLUGINS")
TRACE = "DISTILL_TRACE_PLUGINS"
"""Variables of the environment that plugins are read under; with the last each hook call is printed, so plugins are asked."""
METADATA = {"dist-info": "METADATA", "egg-info": "PKG-INFO"}
"""How a folder ends that says which package is there, and the file in it that says the version."""
MOST = 32
"""Files that are kept."""


@dataclass(frozen=True)
class ListedPlugin:
    """One row, as :class:`distill_core.plugins.index.PluginRow` has it.

    Attributes:
        shown: the stable keys of ``--json``.
        hooks: the hooks that the plugin implements.
        status_line: the status with its reason.
    """

    shown: Mapping[str, str]
    hooks: tuple[str, ...]
    status_line: str


@dataclass(frozen=True)
class Listing:
    """All rows, what is to be said beside them, and the names in the load and block lists that no plugin has."""

    rows: tuple[ListedPlugin, ...]
    warnings: tuple[str, ...]
    unmatched: tuple[str, ...]


def kept() -> Listing | None:
    """The installed plugins as they were, if nothing has changed since."""
    return None if _traced() else _read()


def keep(index: PluginIndex) -> Listing:
    """What was found by asking, written down for the next time, where that can be."""
    rows = tuple(ListedPlugin(row.as_json(), row.hooks, row.status_line) for row in index.rows)
    found = Listing(rows, tuple(index.warnings), index.unmatched)
    if not _traced() and all(row.status != "failed" for row in index.rows):
        _keep(found)
    return found


def _traced() -> bool:
    return os.environ.get(TRACE, "0") not in ("", "0")


def _place() -> Path:
    """Where the listing of this environment is kept."""
    here = "\0".join((sys.prefix, *sys.path, *(os.environ.get(name, "") for name in VARIABLES)))
    return user_cache("plugins") / f"{hashlib.sha256(os.fsencode(here)).hexdigest()[:32]}.json"


def _read() -> Listing | None:
    """What was kept; None if there is nothing, if it is damaged, or if something that it rests on has changed."""
    try:
        kept = unsealed(_place().read_bytes(), indent=None)
        if (kept["environment"], kept["imported"]) != (_environment(), _stamp(kept["files"])):
            return None
        rows = tuple(ListedPlugin(row["shown"], tuple(row["hooks"]), row["status_line"]) for row in kept["rows"])
        return Listing(rows, tuple(kept["warnings"]), tuple(kept["unmatched"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _keep(found: Listing) -> None:
    """Write a listing down, where that can be."""
    files = sorted(_imported())
    content: dict[str, Any] = {**asdict(found), "files": files, "imported": _stamp(files)}
    place = _place()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, sealed({**content, "environment": _environment()}, indent=None), 0o600, lasting=False)
        _forget(place.parent)
    except (OSError, UnicodeEncodeError):  # without it plugins are asked again: that costs time, and nothing else
        return


def _forget(folder: Path) -> None:
    """Remove what was kept longest ago: each environment, and each working directory of ``python -m``, has a file of its own."""
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    for file in files[:-MOST]:
        file.unlink(missing_ok=True)


def _imported() -> set[str]:
    """Every file that is imported, and its folder."""
    files = {file for module in list(sys.modules.values()) if isinstance(file := vars(module).get("__file__"), str)}
    return files | {os.path.dirname(file) for file in files}


def _environment() -> str:
    """A hash of what is installed: of each folder of ``sys.path``, and of the metadata of each package there."""
    folders = [folder for folder in sys.path if os.path.isdir(folder)]
    metadata = [path for folder in folders for path in _metadata(folder)]
    return hashlib.sha256(f"{__version__} {sys.version} {_stamp([*folders, *metadata])}".encode()).hexdigest()


def _metadata(folder: str) -> Iterator[str]:
    """What says which packages are in a folder, and which plugins they bring."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        stated = METADATA.get(entry.name.rpartition(".")[2])
        if stated is not None:
            yield from (entry.path, f"{entry.path}/{stated}", f"{entry.path}/entry_points.txt")


def _stamp(paths: Iterable[str]) -> str:
    """A hash of size and date of files and folders, each by its name."""
    found = hashlib.sha256()
    for path in paths:
        try:
            now = os.stat(path)
            found.update(f"{path}\0{now.st_size}\0{now.st_mtime_ns}\0{now.st_ino}\n".encode("utf-8", "surrogateescape"))
        except OSError:
            found.update(f"{path}\0-\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()
