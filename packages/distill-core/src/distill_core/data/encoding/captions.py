"""Captions as people write them down: .jsonl, .json, .csv, .tsv, .parquet and .txt. Knows no video.

A file that cannot be understood is refused, with its lines; one caption that cannot be used is a fault of its entry, and the others stand.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from distill_core.data.encoding.caption_table import read_table
from distill_core.data.encoding.text_files import lines, read_text
from distill_core.data.reading.footers import check_stretch
from distill_core.errors import DataError

FILE_KEYS = ("file_name", "video", "path", "video_path", "image", "image_path")
CAPTION_KEYS = ("caption", "text", "prompt", "cap")
PICTURE_KEYS = {
    "first_frame": ("first_frame", "first_image", "image", "image_path"),
    "last_frame": ("last_frame", "last_image"),
}
"""The pictures that a prompt may come with, and how a column of them may be called."""
MOST_CHARACTERS = 1 << 20
"""No caption is that long: a file that holds one holds something else."""
FAULTS_SHOWN = 10


@dataclass(frozen=True)
class CaptionEntry:
    """One entry of a captions file.

    Attributes:
        line: where it stands, from 1; of a .parquet its row, of a .json its place in the list.
        caption: the text, stripped; empty where there is none.
        file_name: the video that it belongs to, or None where the entry names none.
        fault: why its caption cannot be used, or "".
        pictures: the files that it names as what a video should begin or end with; paths from the captions file on.
    """

    line: int
    caption: str
    file_name: str | None = None
    fault: str = ""
    pictures: Mapping[str, str] = field(default_factory=dict)


class _Found(NamedTuple):
    """An entry as it stands in the file: its columns, or why it has none."""

    line: int
    columns: Mapping[str, object]
    fault: str = ""


def read_captions(path: Path) -> list[CaptionEntry]:
    """The entries of a captions file: .txt has one caption a line, blank lines apart; the others have named columns.

    Of several columns that may hold the caption, or the file, the first counts that is not empty. Raises DataError, with the lines, for
    what cannot be understood, and for a file that holds no entry.
    """
    return _entries(path, {".txt": _txt, **_NAMED})


def read_named_captions(path: Path) -> list[CaptionEntry]:
    """The same of a file that names a video with each caption, which a .txt cannot."""
    return _entries(path, _NAMED)


def read_prompts(path: Path) -> list[CaptionEntry]:
    """What a file asks to show; one of another suffix has a caption a line, as .txt has. Raises DataError for what cannot be understood."""
    entries = _entries(path, {path.suffix.lower(): _txt, **_NAMED})
    faults = [f"{path}:{entry.line}: {entry.fault}" for entry in entries if entry.fault]
    if faults:
        raise DataError(_listed(faults))
    return entries


def _entries(path: Path, readers: Mapping[str, _Reader]) -> list[CaptionEntry]:
    """The entries, by the reader of the file's suffix."""
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is no captions file that will do here; known are {', '.join(readers)}")
    entries: list[CaptionEntry] = []
    faults: list[str] = []
    for found in reader(path):
        try:
            if found.fault:
                raise DataError(found.fault)
            entries.append(_entry(found))
        except DataError as error:
            faults.append(f"{path}:{found.line}: {error}")
    if faults:
        raise DataError(_listed(faults))
    if not entries:
        raise DataError(f"{path} holds no caption; write one a line")
    return entries


def _listed(faults: Sequence[str]) -> str:
    """Faults, a line each; of many, the first."""
    more = len(faults) - FAULTS_SHOWN
    return "\n".join([*faults[:FAULTS_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def _txt(path: Path) -> Iterator[_Found]:
    for number, line in enumerate(lines(read_text(path)), start=1):
        if line.strip():
            yield _Found(number, {"caption": line})


def _jsonl(path: Path) -> Iterator[_Found]:
    for number, line in enumerate(lines(read_text(path)), start=1):
        if line.strip():
            yield _object(number, *_parsed(line))


def _json(path: Path) -> Iterator[_Found]:
    """A list of objects, or one object that gives each file its caption."""
    content, fault = _parsed(read_text(path))
    if isinstance(content, Mapping):
        content = [{"file_name": name, "caption": caption} for name, caption in content.items()]
    if not isinstance(content, list):
        yield _Found(1, {}, fault or "a list of objects is due, each with a file and a caption")
        return
    for number, item in enumerate(content, start=1):
        yield _object(number, item)


def _csv(path: Path) -> Iterator[_Found]:
    table = read_table(read_text(path), CAPTION_KEYS)
    names = [name.lower() for name in table.columns]
    twice = [name for name, count in Counter(names).items() if count > 1 and name in (*FILE_KEYS, *CAPTION_KEYS)]
    if twice:
        yield _Found(1, {}, f"two columns are called {twice[0]}; keep one of them")
        return
    if names and not set(names) & set(CAPTION_KEYS):
        yield _Found(1, {}, _no_caption(table.columns))
        return
    for row in table.rows:
        yield _Found(row.line, row.fields, row.fault)


def _parquet(path: Path) -> Iterator[_Found]:
    try:
        with pq.ParquetFile(path) as file:
            check_stretch(path, file.metadata)
            names = [name for name in file.schema_arrow.names if name.lower() in (*FILE_KEYS, *CAPTION_KEYS)]
            if len(set(names)) < len(names):
                yield _Found(0, {}, f"two columns have one name ({', '.join(names)}); keep one of them")
                return
            if not any(name.lower() in CAPTION_KEYS for name in names):
                yield _Found(0, {}, _no_caption(file.schema_arrow.names))
                return
            rows = file.read(names).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as parquet: {error}") from error
    for number, columns in enumerate(rows, start=1):
        yield _Found(number, columns)


_Reader = Callable[[Path], Iterator[_Found]]
_NAMED: Mapping[str, _Reader] = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}


def _parsed(text: str) -> tuple[object, str]:
    """JSON, and why it is none, or ""."""
    try:
        return json.loads(text, object_pairs_hook=_once), ""
    except json.JSONDecodeError as error:
        return None, f"this is not JSON: {error.msg} at character {error.colno} of line {error.lineno}"
    except DataError as error:
        return None, str(error)
    except (ValueError, RecursionError):
        return None, "this is not JSON that holds captions"


def _once(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    """The object of these pairs. Raises DataError for a caption, or a file, that is given twice."""
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found and name.lower() in (*FILE_KEYS, *CAPTION_KEYS):
            raise DataError(f"{name} stands there twice; keep one of them")
        found[name] = value
    return found


def _object(line: int, content: object, fault: str = "") -> _Found:
    """An entry that is to be a JSON object."""
    if isinstance(content, Mapping):
        return _Found(line, content)
    return _Found(line, {}, fault or 'an object is due, such as {"file_name": "a.mp4", "caption": "a red ball"}')


def _entry(found: _Found) -> CaptionEntry:
    """An entry out of named columns. Raises DataError if they cannot be those of one."""
    columns = {name.lower(): value for name, value in found.columns.items()}
    if not any(key in columns for key in CAPTION_KEYS):
        raise DataError(_no_caption(found.columns))
    file_name, fault = _text(columns, FILE_KEYS)
    if fault:
        raise DataError(fault)
    caption, fault = _text(columns, CAPTION_KEYS)
    pictures = {name: _text(columns, keys)[0] for name, keys in PICTURE_KEYS.items()}
    return CaptionEntry(
        found.line, caption, file_name or None, fault, {name: file for name, file in pictures.items() if file}
    )


def _no_caption(columns: Iterable[str]) -> str:
    """The message for columns none of which can hold a caption."""
    there = ", ".join(columns)
    return f"no column for the caption; name it {', '.join(CAPTION_KEYS[:-1])} or {CAPTION_KEYS[-1]} (there are: {there or 'none'})"


def _text(columns: Mapping[str, object], keys: tuple[str, ...]) -> tuple[str, str]:
    """The text of the first of ``keys`` that is not empty, and why it cannot be used; "" where there is none."""
    for key in keys:
        value = columns.get(key)
        while isinstance(value, list) and len(value) == 1:
            (value,) = value
        if value is None or value == [] or (isinstance(value, str) and not value.strip()):
            continue
        if not isinstance(value, str):
            listed = f"a list of {len(value)}" if isinstance(value, list) else type(value).__name__
            return "", f"{key} is {listed}, one text is due"
        if len(value) > MOST_CHARACTERS:
            return "", f"{key} has {len(value):,} characters, and at most {MOST_CHARACTERS:,} are a caption"
        try:
            value.encode()
        except UnicodeEncodeError:
            return "", f"{key} holds half a character (a lone surrogate); write it anew"
        return value.strip(), ""
    return "", ""
