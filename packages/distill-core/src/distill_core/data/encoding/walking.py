"""Every file of a folder and of those below, links followed, and what was passed over and why. Opens no file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from distill_core.video.kinds import kind_of

HIDDEN = "files and folders whose names begin with . or _ are hidden"


@dataclass(frozen=True)
class PassedOver:
    """Something in a folder that is not looked into, though it may hold clips: its path, and why."""

    path: Path
    reason: str


@dataclass
class Walk:
    """What there is in a folder.

    Attributes:
        files: the files, sorted by their paths.
        passed_over: links that lead nowhere or in a circle, what cannot be read or is no file, and what is hidden and holds clips.
    """

    files: list[Path] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)


def walk(folder: Path) -> Walk:
    """Look through a folder. Names that begin with ``.`` or ``_`` are passed over, as by readers of parquet files."""
    found = Walk()
    _walk(folder, (_identity(folder),), found)
    found.files.sort()
    return found


def _walk(folder: Path, above: tuple[tuple[int, int], ...], found: Walk) -> None:
    """Add what lies in a folder; ``above`` are the folders that it lies in, itself included."""
    try:
        with os.scandir(folder) as listed:  # it knows of most entries what they are, without a look at each
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        found.passed_over.append(PassedOver(folder, f"the folder cannot be read: {error.strerror}"))
        return
    for entry in entries:
        if entry.name.startswith("._"):
            continue  # what a Mac leaves beside a file on a foreign disk
        path = folder / entry.name
        try:
            reason = _passed_over(entry, path, above)
        except OSError as error:
            reason = f"it cannot be looked at: {error.strerror}"
        if reason:
            found.passed_over.append(PassedOver(path, reason))
        elif _is_hidden(entry):
            continue
        elif entry.is_dir():
            _walk(path, (*above, _identity(path)), found)
        else:
            found.files.append(path)


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    """Whether a file or a folder is hidden, by its name."""
    return entry.name.startswith((".", "_"))


def _passed_over(entry: os.DirEntry[str], path: Path, above: tuple[tuple[int, int], ...]) -> str:
    """Why something is not looked into, though it may hold clips; "" otherwise."""
    if _is_hidden(entry):
        return HIDDEN if holds_clips(path) else ""
    if entry.is_dir():
        if entry.is_symlink() and _identity(path) in above:
            return "it is a link to a folder that it lies in"
        return "it is a folder, and holds no clip" if kind_of(path) and not holds_clips(path) else ""
    if entry.is_file():
        return ""
    if entry.is_symlink() and not path.exists():
        return f"it is a link to {os.readlink(path)}, which is not there"
    return "it is no file, but a device, a pipe or a socket"


def holds_clips(path: Path) -> bool:
    """Whether a video or a picture is this file, or lies in this folder or below, links apart."""
    if not path.is_dir():
        return kind_of(path) is not None and path.is_file()
    return any(kind_of(Path(name)) for _, _, names in os.walk(path) for name in names)


def _identity(path: Path) -> tuple[int, int]:
    """What a folder is known by, through whatever link."""
    status = path.stat()
    return status.st_dev, status.st_ino
