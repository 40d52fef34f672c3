"""Text files of other people's making: their encoding, their lines, and no more of them than fits into memory. Knows no caption."""

from __future__ import annotations

import re
from pathlib import Path

from distill_core.errors import DataError

MOST_BYTES = 256 << 20
"""The largest text file that is read: some two million captions."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """A text file in UTF-8, with or without a byte-order mark, or in UTF-16 with one, as spreadsheets write it; lines end in "\\n".

    Raises DataError if it cannot be read, is neither, or has more than ``most`` bytes.
    """
    try:
        check_size(path, most)
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    encoding = "utf-16" if content.startswith(_UTF16) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: this is not UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8 (in a spreadsheet: CSV UTF-8)"
        ) from error
    return re.sub(r"\r\n?", "\n", text)


def check_size(path: Path, most: int) -> None:
    """Raise DataError for a file of more than ``most`` bytes, before any of them is read."""
    size = path.stat().st_size
    if size > most:
        raise DataError(f"{path} has {size:,} bytes, and at most {most:,} are read; split it into several files")


def lines(text: str) -> list[str]:
    """The lines of a text. Only a line break ends one: str.splitlines() would cut at U+2028, U+0085 and form feeds too."""
    return text.split("\n")
