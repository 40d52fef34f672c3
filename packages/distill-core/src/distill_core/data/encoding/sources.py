"""What there is to encode in a folder: the videos, each with its caption, or with why it has none. Opens no video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from distill_core.data.encoding.captions import FILE_KEYS, CaptionEntry, read_named_captions, read_text
from distill_core.errors import DataError
from distill_core.video.kinds import PICTURE_SUFFIXES, VIDEO_SUFFIXES

CAPTION_FILES = (
    "captions.jsonl",
    "captions.csv",
    "captions.parquet",
    "metadata.jsonl",
    "metadata.csv",
    "metadata.parquet",
)


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
    """Every video and picture in ``folder`` and below by name, then the entries of the captions file that have no file.

    Captions come from ``captions_file``, or else from the one of CAPTION_FILES that lies in the folder; a clip that it
    does not name may have a caption beside it (a.mp4, a.txt). Raises DataError if there is nothing to encode, or if
    captions are ambiguous.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is no folder; name a folder of videos (for captions without videos add --captions-only)"
        )
    captions = _captions_by_name(captions_file or _only_captions_file(folder))
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if _is_media(path)}
    if not files:
        raise DataError(f"{folder} holds no video (known are {', '.join(sorted(VIDEO_SUFFIXES | PICTURE_SUFFIXES))})")
    found = [_source(name, path, captions.get(name)) for name, path in sorted(files.items())]
    lost = [
        Source(name, folder / name, caption, "the captions file names it and it is not in the folder")
        for name, caption in captions.items()
        if name not in files
    ]
    return (*found, *lost)


def _is_media(path: Path) -> bool:
    """Whether a file is a video or a picture, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES and path.is_file()


def _source(name: str, path: Path, caption: str | None) -> Source:
    """A file with the caption of the captions file, or that beside it."""
    beside = path.with_suffix(".txt")
    if caption is None and beside.is_file():
        caption = " ".join(read_text(beside).split())
    return Source(name, path, caption) if caption else Source(name, path, refusal="it has no caption")


def _only_captions_file(folder: Path) -> Path | None:
    """The captions file of a folder, if it has one."""
    found = [folder / name for name in CAPTION_FILES if (folder / name).is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} holds {', '.join(path.name for path in found)}; say which to take with --captions")
    return found[0] if found else None


def _captions_by_name(path: Path | None) -> dict[str, str]:
    """The entries of a captions file by the file that they name."""
    if path is None:
        return {}
    captions: dict[str, str] = {}
    for entry in _entries_with_files(path, read_named_captions(path)):
        name = PurePosixPath(entry.file_name.replace("\\", "/") if entry.file_name else "").as_posix()
        if name in captions:
            raise DataError(f"{path}:{entry.line}: {name} has a caption already; keep one of the two lines")
        captions[name] = entry.caption
    return captions


def _entries_with_files(path: Path, entries: Iterable[CaptionEntry]) -> Iterable[CaptionEntry]:
    """The same entries, each checked to name a file."""
    for entry in entries:
        if not entry.file_name:
            raise DataError(
                f"{path}:{entry.line}: no video is named; give it as {', '.join(FILE_KEYS[:-1])} or {FILE_KEYS[-1]}"
            )
        yield entry
