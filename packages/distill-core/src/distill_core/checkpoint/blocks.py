"""Files as blocks with a hash each: several are hashed at once, and a part of a file can be verified by itself. Knows no file's meaning."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

BLOCK = 4 * 2**20
"""Bytes of a block; the last one of a file may have fewer."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileRecord(BaseModel):
    """One file of a checkpoint.

    Attributes:
        size: its bytes.
        sha256: of each block, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: Annotated[int, Field(ge=0)]
    sha256: list[Digest]

    def fault(self, file: Path, ranges: Iterable[range] | None = None) -> str | None:
        """How a file differs from this record, or None. ``ranges``: the bytes that are read; None reads all.

        Raises OSError for a file that cannot be read.
        """
        if file.is_symlink() or not file.is_file():
            return "missing"
        if file.stat().st_size != self.size or len(self.sha256) != _count(self.size):
            return "not what was written"
        read = (
            [range(self.size)] if ranges is None else [range(each.start, min(each.stop, self.size)) for each in ranges]
        )
        wanted = sorted({block for each in read for block in blocks_of(each)})
        return None if hashes(file, wanted) == [self.sha256[block] for block in wanted] else "not what was written"


class BlockHashes:
    """Takes bytes in pieces of any size, and hashes them in blocks."""

    def __init__(self) -> None:
        self.size = 0
        self._blocks: list[Any] = []  # hashlib names no type that its hashes have

    def parts(self, piece: bytes | memoryview) -> list[Callable[[], None]]:
        """What has to be done to hash the next bytes: at once or in any order, but all of it before the bytes that follow are taken."""
        view, found = memoryview(piece), list[Callable[[], None]]()
        while view:
            if self.size % BLOCK == 0:
                self._blocks.append(hashlib.sha256())
            part = view[: BLOCK - self.size % BLOCK]
            found.append(partial(self._blocks[-1].update, part))
            self.size += len(part)
            view = view[len(part) :]
        return found

    def update(self, piece: bytes | memoryview) -> None:
        """The next bytes."""
        for part in self.parts(piece):
            part()

    def record(self) -> FileRecord:
        """What the bytes so far come to."""
        return FileRecord(size=self.size, sha256=[block.hexdigest() for block in self._blocks])


def record_of(file: Path) -> FileRecord:
    """The record of a file as it is now."""
    size = file.stat().st_size
    return FileRecord(size=size, sha256=hashes(file, range(_count(size))))


def hashes(file: Path, blocks: Iterable[int]) -> list[str]:
    """SHA-256 of some blocks of a file, in their order."""
    with file.open("rb") as opened, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        descriptor = opened.fileno()

        def read(block: int) -> str:
            """Of one block; each thread reads at a place of its own."""
            return digest(os.pread(descriptor, BLOCK, block * BLOCK))

        return list(threads.map(read, blocks))


def digest(content: bytes | memoryview) -> str:
    """SHA-256 of one block."""
    return hashlib.sha256(content).hexdigest()


def blocks_of(place: range) -> range:
    """The blocks that some bytes lie in."""
    return range(place.start // BLOCK, _count(place.stop))


def _count(size: int) -> int:
    return -(-size // BLOCK)
