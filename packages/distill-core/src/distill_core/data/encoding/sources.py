"""What there is to encode in a folder: the videos, each with its caption, or with why it has none. Opens no video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from distill_core.errors import DataError
from distill_core.video.kinds import PICTURE_SUFFIXES, VIDEO_SUFFIXES

MOST_BESIDE = 1 << 20
"""The largest text beside a clip that is read as its caption."""


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


def find_sources(folder: Path, captions_file: Path | None = None) -> tuple[Source, ...]:
    """Every video and picture in ``folder`` and below by name, then the entries of captions files that have no file, then unread files.

    Captions come from ``captions_file``, or else from the captions files of the folder and of those below; a clip that they
    do not name may have a caption beside it (a.mp4, a.txt). Raises DataError if there is nothing to encode, or if
    captions are ambiguous.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is no folder; name a folder of videos (for captions without videos add --captions-only)"
        )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    captions = folder_captions(folder, files, captions_file)
    clips = {path.relative_to(folder).as_posix(): path for path in files if _is_media(path)}
    if not clips:
        raise DataError(f"{folder} holds no video (known are {', '.join(sorted(VIDEO_SUFFIXES | PICTURE_SUFFIXES))})")
    beside = {same_name(str(path)): path for path in files if path.suffix == ".txt"}
    found = [_source(folder, name, captions.of(name), beside) for name in clips]
    return (*found, *_lost(folder, captions, clips), *_unread(folder, files, captions, clips))


def _is_media(path: Path) -> bool:
    """Whether a file is a video or a picture, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES


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


def _lost(folder: Path, captions: FolderCaptions, clips: Mapping[str, Path]) -> list[Source]:
    """What captions files name and the folder does not hold as a clip."""
    meant = Meant(clips)
    lost = []
    for given in captions.without_file(clips):
        like = meant.by(given.name)
        reason = f"{given.where_in(folder)} names it and it is not in the folder" + (f"; is it {like}?" if like else "")
        lost.append(Source(given.name, folder / given.name, given.entry.caption, reason))
    return lost


def _unread(folder: Path, files: list[Path], captions: FolderCaptions, clips: Mapping[str, Path]) -> list[Source]:
    """Files that may hold captions and were not read; many of one folder in one."""
    found = []
    for (_, suffix), paths in unread(files, captions.read, clips).items():
        name = paths[0].relative_to(folder).as_posix() + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
        reason = (
            "no clip beside it has its name"
            if suffix == ".txt"
            else "it is not read; if it holds captions, name it with --captions"
        )
        found.append(Source(name, paths[0], refusal=reason))
    return found
