"""Captions as people write them down: .jsonl, .csv, .parquet and .txt. Knows no video."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from distill_core.errors import DataError

FILE_KEYS = ("file_name", "video", "path")
CAPTION_KEYS = ("caption", "text", "prompt")


@dataclass(frozen=True)
class CaptionEntry:
    """One entry of a captions file.

    Attributes:
        line: where it stands, from 1; of a .parquet its row.
        caption: the text, stripped; empty where there is none.
        file_name: the video that it belongs to, or None where the entry names none.
    """

    line: int
    caption: str
    file_name: str | None = None


def read_captions(path: Path) -> list[CaptionEntry]:
    """The entries of a captions file: .txt has one caption a line, blank lines apart; the others have named columns.

    Raises DataError, with the line, for what cannot be understood, and for a file that holds no entry.
    """
    return _entries(path, {".txt": _txt_entries, **_NAMED})


def read_named_captions(path: Path) -> list[CaptionEntry]:
    """The same of a file that names a video with each caption, which a .txt cannot."""
    return _entries(path, _NAMED)


def _entries(path: Path, readers: Mapping[str, _Reader]) -> list[CaptionEntry]:
    """The entries, by the reader of the file's suffix."""
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is no captions file that will do here; known are {', '.join(readers)}")
    entries = list(reader(path))
    if not entries:
        raise DataError(f"{path} holds no caption; write one a line")
    return entries


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte-order mark. Raises DataError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8") from error


def _txt_entries(path: Path) -> Iterator[CaptionEntry]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            yield CaptionEntry(number, line.strip())


def _jsonl_entries(path: Path) -> Iterator[CaptionEntry]:
    # Only "\n" ends a line of JSONL: splitlines() would also cut at characters that JSON strings may hold.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            columns = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: this line is not JSON: {error.msg}") from error
        if not isinstance(columns, dict):
            raise DataError(
                f'{path}:{number}: an object is due, such as {{"file_name": "a.mp4", "caption": "a red ball"}}'
            )
        yield _entry(path, number, columns)


def _csv_entries(path: Path) -> Iterator[CaptionEntry]:
    reader = csv.DictReader(StringIO(read_text(path), newline=""))
    for columns in reader:
        yield _entry(path, reader.line_num, columns)


def _parquet_entries(path: Path) -> Iterator[CaptionEntry]:
    try:
        file = pq.ParquetFile(path)
        names = [name for name in file.schema_arrow.names if name in (*FILE_KEYS, *CAPTION_KEYS)]
        rows = file.read(names).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as parquet: {error}") from error
    for number, columns in enumerate(rows, start=1):
        yield _entry(path, number, columns)


_Reader = Callable[[Path], Iterator[CaptionEntry]]
_NAMED: Mapping[str, _Reader] = {".jsonl": _jsonl_entries, ".csv": _csv_entries, ".parquet": _parquet_entries}


def _entry(path: Path, line: int, columns: Mapping[str, object]) -> CaptionEntry:
    """An entry out of named columns."""
    caption = _text(path, line, columns, CAPTION_KEYS)
    if caption is None:
        raise DataError(
            f"{path}:{line}: no column for the caption; name it {', '.join(CAPTION_KEYS[:-1])} or {CAPTION_KEYS[-1]}"
        )
    return CaptionEntry(line, caption, _text(path, line, columns, FILE_KEYS))


def _text(path: Path, line: int, columns: Mapping[str, object], keys: tuple[str, ...]) -> str | None:
    """The text of the first of ``keys`` that is there; None if none is."""
    for key in keys:
        if key in columns:
            text = columns[key]
            if text is None:
                return ""
            if not isinstance(text, str):
                raise DataError(f"{path}:{line}: {key} is {type(text).__name__}, text is due")
            return text.strip()
    return None
