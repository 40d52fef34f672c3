"""What there is to encode in a folder: the videos, each with its caption, or with why it has none. Opens no video."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from distill_core.data.encoding.folder_captions import (
    FolderCaptions,
    GivenCaption,
    Meant,
    folder_captions,
    same_name,
    unread,
)
from distill_core.data.encoding.text_files import read_text
from distill_core.data.encoding.walking import Walk, walk
from distill_core.data.encoding.wall import printable
from distill_core.errors import DataError
from distill_core.video.kinds import kind_of

MOST_BESIDE = 1 << 20
"""The largest text beside a clip that is read as its caption."""
REASONS_SHOWN = 5
"""Files that are named where a folder holds no clip at all."""


@dataclass(frozen=True)
class Source:
    """One clip to encode, or one that cannot be.

    Attributes:
        name: its path inside the folder, with forward slashes.
        path: the file.
        caption: its caption.
        refusal: why it is skipped, or "".
    """

    name: str
    path: Path
    caption: str = ""
    refusal: str = ""


def refuse_no_folder(folder: Path) -> None:
    """Raise DataError for what is no folder to look for clips in."""
    if not folder.is_dir():
        raise DataError(
            f"{folder} is no folder; name a folder of videos (for captions without videos add --captions-only)"
        )


def find_sources(folder: Path, captions_file: Path | None = None) -> tuple[Source, ...]:
    """Every video and picture in ``folder`` and below by name, then what captions files name in vain, then what is not read, each with why.

    Captions come from ``captions_file``, or else from the captions files of the folder and of those below; a clip that they
    do not name may have a caption beside it (a.mp4, a.txt). Raises DataError if there is nothing to encode, or if
    captions are ambiguous.
    """
    refuse_no_folder(folder)
    found = walk(folder)
    captions = folder_captions(folder, found.files, captions_file)
    clips = {path.relative_to(folder).as_posix(): path for path in found.files if kind_of(path)}
    beside = {same_name(str(path)): path for path in found.files if path.suffix == ".txt"}
    sources = [_source(folder, name, captions.of(name), beside) for name in clips]
    left_out = [*_unread(folder, found.files, captions, clips), *_passed_over(folder, found)]
    if not sources:
        reasons = "".join(f"; {each.name}: {each.refusal}" for each in left_out[:REASONS_SHOWN])
        raise DataError(printable(f"{folder} holds no video and no picture{reasons}"))
    return tuple(_writable([*sources, *_lost(folder, found.files, captions, clips), *left_out]))


def _writable(sources: Iterable[Source]) -> Iterator[Source]:
    """The same with names that can be stored as UTF-8, none twice."""
    names: set[str] = set()
    for source in sources:
        name, refusal = printable(source.name), printable(source.refusal)
        if name in names:
            yield replace(
                source, name=f"{name} (again)", refusal="another file has this name, as far as it can be written"
            )
        elif not refusal and source.caption != printable(source.caption):
            yield replace(
                source, name=name, refusal="its caption holds half of a surrogate pair, which is no character"
            )
        else:
            yield replace(source, name=name, refusal=refusal)
        names.add(name)


def _source(folder: Path, name: str, given: GivenCaption | None, beside: Mapping[str, Path]) -> Source:
    """A file with the caption of a captions file, or that beside it."""
    path = folder / name
    text = beside.get(same_name(str(path.with_suffix(".txt"))))
    if given is not None:
        caption, fault = given.entry.caption, given.entry.fault and f"{given.where_in(folder)}: {given.entry.fault}"
    else:
        caption, fault = ("", "") if text is None else _read_beside(text)
    return Source(name, path, caption, fault or ("" if caption else "it has no caption"))


def _read_beside(path: Path) -> tuple[str, str]:
    """The caption beside a clip, and why it cannot be read, or ""."""
    try:
        return " ".join(read_text(path, MOST_BESIDE).split()), ""
    except DataError as error:
        return "", str(error)


def _lost(folder: Path, files: list[Path], captions: FolderCaptions, clips: Mapping[str, Path]) -> list[Source]:
    """What captions files name and the folder does not hold as a clip."""
    meant, there = Meant(clips), set(files)
    lost = []
    for given in captions.without_file(clips):
        like = meant.by(given.name)
        fault = _kind_fault(folder / given.name) if folder / given.name in there else "it is not in the folder"
        reason = f"{given.where_in(folder)} names it and {fault}" + (f"; is it {like}?" if like else "")
        lost.append(Source(given.name, folder / given.name, given.entry.caption, reason))
    return lost


def _unread(folder: Path, files: list[Path], captions: FolderCaptions, clips: Mapping[str, Path]) -> list[Source]:
    """Files that are no clips, no captions that were read and not named in vain; those of one kind in one folder in one."""
    maybe_captions = unread(files, captions.read, clips)
    known = {path for paths in maybe_captions.values() for path in paths}.union(captions.read, clips.values())
    named = {folder / given.name for given in captions.without_file(clips)}
    others = defaultdict[tuple[Path, str], list[Path]](list)
    for path in files:
        if path not in known and path not in named and path.suffix != ".txt":
            others[path.parent, path.suffix.lower()].append(path)
    found = []
    for (_, suffix), paths in (*maybe_captions.items(), *others.items()):
        name = paths[0].relative_to(folder).as_posix()
        if (paths[0].parent, suffix) in others:
            reason = _kind_fault(paths[0])
        elif suffix == ".txt":
            reason = "no clip beside it has its name"
        else:
            reason = f"it is not read; if it holds captions, add --captions {paths[0]}"
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        found.append(Source(name + more, paths[0], refusal=reason))
    return found


def _kind_fault(path: Path) -> str:
    """Why a file is taken for no clip."""
    suffix = path.suffix.lower()
    return (
        f"{suffix} is no kind of video or picture that is read; convert it if it is one"
        if suffix
        else "its name has no suffix that says what it is"
    )


def _passed_over(folder: Path, found: Walk) -> list[Source]:
    """What was not looked into."""
    return [
        Source(each.path.relative_to(folder).as_posix() + "/" * each.path.is_dir(), each.path, refusal=each.reason)
        for each in found.passed_over
    ]
