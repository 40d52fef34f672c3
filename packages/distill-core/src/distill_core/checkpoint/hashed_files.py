"""Files that torch writes, hashed on their way to disk: by a thread beside the writing, so that nothing is read again for its hash."""

from __future__ import annotations

import io
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemWriter

from distill_core.checkpoint.blocks import BlockHashes, FileRecord

_AHEAD = 64
"""Pieces that wait to be hashed, at most; torch writes in pieces of at most a megabyte or so."""


class HashedFileSystem(FileSystem):
    """torch's local files. What was written to each is in ``records``, by path."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[Path, FileRecord] = {}

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Iterator[io.IOBase]:
        """A file, hashed while it is written."""
        with super().create_stream(path, mode) as stream:
            if mode != "wb":
                yield stream
                return
            hashed = _HashedStream(stream)
            try:
                yield hashed
            finally:
                record = hashed.finish()
            self.records[Path(path)] = record

    def rename(self, path: str | os.PathLike[str], new_path: str | os.PathLike[str]) -> None:
        """Give a file its name; its record goes with it."""
        super().rename(path, new_path)
        if Path(path) in self.records:
            self.records[Path(new_path)] = self.records.pop(Path(path))


class HashingWriter(FileSystemWriter):
    """torch's writer of one folder; ``files`` knows what it wrote."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.files = HashedFileSystem()
        self.fs = self.files


class _HashedStream(io.RawIOBase):
    """Passes on what is written, and hands a copy to the hashing thread: torch takes its memory back once a write is done."""

    def __init__(self, stream: Any) -> None:
        """``stream``: Any, because torch's own interface of it, IOBase, has no ``write``."""
        self._stream = stream
        self._size = 0
        self._hashes = BlockHashes()
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._thread = threading.Thread(target=self._work, name="distill-hash", daemon=True)
        self._thread.start()

    def write(self, data: Any) -> int:
        """Any, because it is what bytes can be read of."""
        piece = bytes(data)
        self._pieces.put(piece)
        self._stream.write(piece)
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

    def finish(self) -> FileRecord:
        """Wait until all is hashed."""
        self._pieces.put(None)
        self._thread.join()
        return self._hashes.record()

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._hashes.update(piece)
