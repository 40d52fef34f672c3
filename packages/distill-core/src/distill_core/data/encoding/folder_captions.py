"""The captions that a folder's captions files give to its files. Opens captions files, and nothing else of the folder."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from distill_core.data.encoding.captions import FILE_KEYS, CaptionEntry, read_named_captions
from distill_core.errors import DataError

CAPTION_FILES = tuple(
    stem + suffix for stem in ("captions", "metadata") for suffix in (".jsonl", ".json", ".csv", ".tsv", ".parquet")
)
"""Captions files that are found by their names, in the folder and in each folder below."""
DATA_SUFFIXES = frozenset({".json", ".jsonl", ".csv", ".tsv", ".parquet"})
"""What may well be a captions file under another name."""


@dataclass(frozen=True)
class GivenCaption:
    """What a captions file says of one file.

    Attributes:
        name: the file's path inside the folder, with forward slashes.
        entry: the entry, with its caption.
        captions_file: where the entry stands.
    """

    name: str
    entry: CaptionEntry
    captions_file: Path

    @property
    def where(self) -> str:
        """The captions file and the line."""
        return f"{self.captions_file}:{self.entry.line}"

    def where_in(self, folder: Path) -> str:
        """The same, without the way to the folder."""
        inside = self.captions_file.is_relative_to(folder)
        return f"{self.captions_file.relative_to(folder)}:{self.entry.line}" if inside else self.where


def same_name(name: str) -> str:
    """What two names have in common that a person takes for one: é is one character here and two there, and looks alike."""
    return unicodedata.normalize("NFC", name)


class FolderCaptions:
    """The captions of a folder, by file.

    Attributes:
        read: the captions files.
    """

    def __init__(self, given: Iterable[GivenCaption], read: Iterable[Path]) -> None:
        self.read = tuple(read)
        self._given: dict[str, GivenCaption] = {}
        for each in given:
            before = self._given.setdefault(same_name(each.name), each)
            if before is not each:
                raise DataError(
                    f"{each.where}: {each.name} has a caption already ({before.where}); keep one of the two lines"
                )

    def of(self, name: str) -> GivenCaption | None:
        """What is said of the file ``name``, if anything is."""
        return self._given.get(same_name(name))

    def without_file(self, names: Collection[str]) -> Iterator[GivenCaption]:
        """What is said of files that are not among ``names``."""
        there = set(map(same_name, names))
        return (each for name, each in self._given.items() if name not in there)


def folder_captions(folder: Path, files: Iterable[Path], captions_file: Path | None = None) -> FolderCaptions:
    """The captions of a folder that holds ``files``.

    They stand in ``captions_file``, whose names start from the folder; or else in those of CAPTION_FILES that lie in the folder, and in the
    folders below, whose names start from where they lie. Raises DataError if captions cannot be understood, or are ambiguous.
    """
    if captions_file is not None:
        return FolderCaptions(_given(folder, folder, captions_file), [captions_file])
    found = defaultdict[Path, list[Path]](list)
    for path in sorted(files):
        if path.name in CAPTION_FILES:
            found[path.parent].append(path)
    for below, paths in found.items():
        if len(paths) > 1:
            remedy = "say which to take with --captions" if below == folder else "keep one of them"
            raise DataError(f"{below} holds {', '.join(path.name for path in paths)}; {remedy}")
    read = [path for (path,) in found.values()]
    return FolderCaptions((each for path in read for each in _given(folder, path.parent, path)), read)


def _given(folder: Path, start: Path, path: Path) -> Iterator[GivenCaption]:
    """What a captions file says, by names inside ``folder``; it names files from ``start`` on, or by their whole paths."""
    for entry in read_named_captions(path):
        if not entry.file_name:
            keys = f"{', '.join(FILE_KEYS[:-1])} or {FILE_KEYS[-1]}"
            raise DataError(f"{path}:{entry.line}: no video is named; give it as {keys}")
        yield GivenCaption(_name(folder, start, entry.file_name.replace("\\", "/")), entry, path)


def _name(folder: Path, start: Path, named: str) -> str:
    """The path inside ``folder`` of a file that is named from ``start`` on, or by its whole path."""
    if PurePosixPath(named).is_absolute():
        for root in (folder.absolute(), folder.resolve()):
            if PurePath(named).is_relative_to(root):
                return PurePath(named).relative_to(root).as_posix()
        return named
    return (PurePosixPath(start.relative_to(folder).as_posix()) / named).as_posix()


class Meant:
    """Guesses which file a name that is none was meant to be: other capitals, no suffix or another, another folder."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names: dict[str, set[str]] = {}
        for name in names:
            for key in _keys(name):
                self._names.setdefault(key, set()).add(name)

    def by(self, name: str) -> str | None:
        """The file, if only one comes into question."""
        for key in _keys(name):
            meant = self._names.get(key, set())
            if len(meant) == 1:
                return next(iter(meant))
        return None


def _keys(name: str) -> tuple[str, str, str]:
    """By what a name is found again, the closest first."""
    path = PurePosixPath(same_name(name).casefold())
    return path.as_posix(), path.with_suffix("").as_posix() if path.name else "", path.name


def unread(
    files: Iterable[Path], read: Collection[Path], clips: Mapping[str, Path]
) -> dict[tuple[Path, str], list[Path]]:
    """Files that may well hold captions and were not read, by folder and suffix: tables and JSON, and texts that lie beside no clip."""
    stems = {same_name(str(path.with_suffix(""))) for path in clips.values()}
    found = defaultdict[tuple[Path, str], list[Path]](list)
    for path in sorted(files):
        suffix = path.suffix.lower()
        if path not in read and (
            suffix in DATA_SUFFIXES or (suffix == ".txt" and same_name(str(path.with_suffix(""))) not in stems)
        ):
            found[path.parent, suffix].append(path)
    return found
