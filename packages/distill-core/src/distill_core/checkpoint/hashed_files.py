"""Files that torch writes and reads, hashed on the way: threads beside hash what is being written, or compare what is being read, so that
nothing is read for its hash alone."""

from __future__ import annotations

import io
import os
import sys
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemWriter

from distill_core.checkpoint import blocks
from distill_core.checkpoint.blocks import BlockHashes, FileRecord
from distill_core.errors import DamagedError

_THREADS = 2
_SMALL = 64 * 2**10
"""Bytes that are sooner hashed than handed to a thread."""
_AT_ONCE = 4 * 2**20
"""Bytes that are written before the system is asked to bring them to disk."""
_AHEAD = 4
"""Blocks that are read before they are asked for."""
_HELD = 16
"""Blocks that a reader holds: torch reads a tensor's first and last, then all of it, and shares them with its neighbours."""


class HashedFileSystem(FileSystem):
    """torch's local files. What was written to each is in ``records``, by path. ``check`` may raise before a piece is written."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.check = check
        self.records: dict[Path, FileRecord] = {}

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Iterator[io.IOBase]:
        """A file, hashed while it is written."""
        with super().create_stream(path, mode) as stream:
            if mode != "wb":
                yield stream
                return
            # Closed before the file below it: from 3.13 on Python prints what a stream that is closed too late cannot do.
            with (
                ThreadPoolExecutor(_THREADS, "distill-hash") as threads,
                closing(_HashedStream(stream, threads, self.check)) as hashed,
            ):
                yield hashed
            self.records[Path(path)] = hashed.record()

    def rename(self, path: str | os.PathLike[str], new_path: str | os.PathLike[str]) -> None:
        """Give a file its name; its record goes with it."""
        super().rename(path, new_path)
        if Path(path) in self.records:
            self.records[Path(new_path)] = self.records.pop(Path(path))


class HashingWriter(FileSystemWriter):
    """torch's writer of one folder; ``files`` knows what it wrote."""

    def __init__(self, folder: Path, check: Callable[[], None] = lambda: None) -> None:
        super().__init__(folder)
        self.files = HashedFileSystem(check)
        self.fs = self.files


class VerifiedFileSystem(FileSystem):
    """torch's local files, of which no byte is handed on that is not as it was recorded.

    ``records`` and ``wanted``, the bytes that will be read, are by name.

    Attributes:
        damaged: the names of those that were not. torch may hide the DamagedError that reading them raises behind one of its own.
    """

    def __init__(self, records: Mapping[str, FileRecord], wanted: Mapping[str, Sequence[range]]) -> None:
        super().__init__()
        self.records = records
        self.wanted = wanted
        self.damaged: list[str] = []

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Iterator[io.IOBase]:
        """A file, verified while it is read."""
        name = Path(path).name
        with super().create_stream(path, mode) as stream, ThreadPoolExecutor(_THREADS, "distill-hash") as threads:
            if name not in self.records:
                raise self.refusal(name)
            wanted = self.wanted.get(name, ())
            yield _VerifiedStream(stream.fileno(), self.records[name], wanted, threads, lambda: self.refusal(name))

    def refusal(self, name: str) -> DamagedError:
        """What is raised for a damaged file, which is one from now on."""
        self.damaged.append(name)
        return DamagedError(f"{name}: not what was written")


class _HashedStream(io.RawIOBase):
    """Passes on what is written, while threads hash it; a write returns when both are done, for torch takes its memory back then."""

    def __init__(self, stream: Any, threads: ThreadPoolExecutor, check: Callable[[], None]) -> None:
        """``stream``: Any, because torch's own interface of it, IOBase, has no ``write``."""
        self._stream = stream
        self._check = check
        self._threads = threads
        self._size = 0
        self._begun = 0
        self._hashes = BlockHashes()

    def write(self, data: Any) -> int:
        """Any, because it is what bytes can be read of."""
        self._check()
        piece = memoryview(data).cast("B")
        parts = self._hashes.parts(piece)
        if len(piece) < _SMALL:
            for part in parts:
                part()
            self._stream.write(piece)
        else:
            with _done_beside(self._threads, parts):
                self._write(piece)
        self._size += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def fileno(self) -> int:
        """The descriptor of the file beneath."""
        number: int = self._stream.fileno()
        return number

    def flush(self) -> None:
        """Hand everything to the system."""
        if not self.closed:
            self._stream.flush()

    def writable(self) -> bool:
        """Always."""
        return True

    def record(self) -> FileRecord:
        """What was written."""
        return self._hashes.record()

    def _write(self, piece: memoryview) -> None:
        """Pass it on, and let the disk begin with it at once, so that little is left to wait for in the end."""
        for start in range(0, len(piece), _AT_ONCE):
            self._stream.write(piece[start : start + _AT_ONCE])
            # Not to the last byte: a page that is on its way to disk, and written to again, is waited for.
            whole = (self._size + start) // _AT_ONCE * _AT_ONCE
            if sys.platform == "linux" and whole > self._begun:  # it begins to write out what need not stay in memory
                os.posix_fadvise(self.fileno(), self._begun, whole - self._begun, os.POSIX_FADV_DONTNEED)
                self._begun = whole


class _VerifiedStream(io.RawIOBase):
    """A file as blocks, each read once, by a thread that goes on ahead, and compared with its record before any of it is handed on."""

    def __init__(
        self,
        descriptor: int,
        record: FileRecord,
        wanted: Iterable[range],
        threads: ThreadPoolExecutor,
        refusal: Callable[[], DamagedError],
    ) -> None:
        self._descriptor = descriptor
        self._record = record
        self._wanted = sorted({number for place in wanted for number in blocks.blocks_of(place)})
        self._threads = threads
        self._refusal = refusal
        self._at = 0
        self._held: dict[int, Future[bytes | None]] = {}

    def readinto(self, buffer: Any) -> int:
        """Any, because it is what bytes can be written to. Raises DamagedError."""
        wanted = memoryview(buffer).cast("B")[: max(0, self._record.size - self._at)]
        filled = 0
        while filled < len(wanted):
            number, offset = divmod(self._at + filled, blocks.BLOCK)
            content = memoryview(self._block(number))[offset : offset + len(wanted) - filled]
            wanted[filled : filled + len(content)] = content
            filled += len(content)
        self._at += filled
        return filled

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._record.size}[whence]
        return self._at

    def tell(self) -> int:
        """The place."""
        return self._at

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def _block(self, number: int) -> bytes:
        """A block; those that will be wanted after it are begun with."""
        after = bisect(self._wanted, number)
        for each in (number, *self._wanted[after : after + _AHEAD]):
            if each not in self._held:
                self._held[each] = self._threads.submit(self._read, each)
        asked = self._held[number]
        for first in sorted(self._held)[
            :-_HELD
        ]:  # tensors are read in their order, so nothing before this one is asked for again
            del self._held[first]
        content = asked.result()
        if content is None:
            raise self._refusal()
        return content

    def _read(self, number: int) -> bytes | None:
        """A block as it was written; None if it is another."""
        content = os.pread(self._descriptor, blocks.BLOCK, number * blocks.BLOCK)
        return content if blocks.digest(content) == self._record.sha256[number] else None


@contextmanager
def _done_beside(threads: ThreadPoolExecutor, parts: Sequence[Callable[[], None]]) -> Iterator[None]:
    """Threads do the parts meanwhile, and have done them all when this is left."""
    doing = [threads.submit(part) for part in parts]
    try:
        yield
    finally:
        _settled(doing)
    for each in doing:
        each.result()


def _settled(doing: Sequence[Any]) -> None:
    """Wait until all is done, whatever comes meanwhile: the memory that is read or written to may be gone afterwards."""
    try:
        wait(doing)
    except BaseException:
        wait(doing)
        raise
