"""The content of files as hashes, each computed once: kept in the run directory by size and times. Knows no file's meaning."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from distill_core.durable import sealed, sha256, unsealed, write_text


class _Known(BaseModel):
    """A file as it was when it was hashed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int
    modified_ns: int
    changed_ns: int
    sha256: str


class _Record(BaseModel):
    """All that is known, by absolute path."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    files: dict[str, _Known]


class ContentHashes:
    """Hashes of files, kept in a file of JSON. One that is damaged is done without: hashing costs time, and nothing else.

    A file counts as the one that was hashed while its size and the times of its last change, of content and of inode, are the same. Who
    can write to the disk itself can still change it unseen; ``distill verify`` reads every byte.
    """

    def __init__(self, path: Path | None) -> None:
        """``path``: where they are kept; None keeps none."""
        self._path = path
        self._known = {} if path is None else _read(path)

    def of(self, files: Sequence[Path]) -> list[str]:
        """The SHA-256 of each file, in their order. Raises OSError for one that cannot be read."""
        from concurrent.futures import (
            ThreadPoolExecutor,  # with it comes logging, and the families' folders import this module
        )

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            found = list(threads.map(self._hashed, files))
        news = {str(file): known for file, known in zip(files, found, strict=True)}
        changed = any(self._known.get(name) != known for name, known in news.items())
        self._known |= news
        if changed and self._path is not None:
            write_text(
                self._path, sealed(_Record(files=self._known).model_dump(mode="json")), 0o600
            )  # paths may hold anything
        return [known.sha256 for known in found]

    def of_all(self, files: Iterable[tuple[str, Path]]) -> str:
        """One hash of files, each with the name that it is to be known by, in their order."""
        pairs = list(files)
        hashes = self.of([file for _, file in pairs])
        lines = [f"{digest} {name}\0" for (name, _), digest in zip(pairs, hashes, strict=True)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _hashed(self, file: Path) -> _Known:
        now = file.stat()
        known = self._known.get(str(file))
        times = (now.st_size, now.st_mtime_ns, now.st_ctime_ns)
        if known is not None and (known.size, known.modified_ns, known.changed_ns) == times:
            return known
        return _Known(size=times[0], modified_ns=times[1], changed_ns=times[2], sha256=sha256(file))


def _read(path: Path) -> dict[str, _Known]:
    try:
        return dict(_Record.model_validate(unsealed(path.read_bytes())).files)
    except (OSError, ValueError, ValidationError):
        return {}
