"""Writing such that a crash leaves either the old or the new, and reading such that a flipped bit is seen. No link is written through."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from distill_core.printable import visible

SEAL = "sha256"
"""The last key of sealed JSON: the hash of all that stands before it."""
_SIGNATURE = "# sha256 of the lines above: "
_BESIDE = re.compile(r"\..+\.tmp-[0-9]+")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError from inside names the path: a full disk names none by itself."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def sync(path: Path) -> None:
    """Bring a file or a directory entry to disk."""
    with naming(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def beside(path: Path) -> Path:
    """The name that this process writes a file under before it gets its own; :func:`sweep` removes what has such a name."""
    return path.with_name(f".{path.name}.tmp-{os.getpid()}")


def sweep(folder: Path) -> None:
    """Remove, in a folder and below, what killed processes were writing. Nothing else may be writing there. No link is followed."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if _BESIDE.fullmatch(name):
                Path(parent, name).unlink(missing_ok=True)


def strangers_in(folder: Path, *excepted: Path) -> Iterator[Path]:
    """What is neither a file nor a folder nor a link, in a folder and below. No link is followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if Path(entry.path) not in excepted:
                    yield from strangers_in(Path(entry.path))
            elif not (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                yield Path(entry.path)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file beside its name, then rename it into place."""
    write_text(path, visible(json.dumps(content, indent=2, ensure_ascii=False)) + "\n")


def write_text(path: Path, content: str, mode: int = 0o666, *, lasting: bool = True) -> None:
    """Write a text file beside its name, then rename it into place; see :func:`write_bytes`."""
    write_bytes(path, content.encode(), mode, lasting=lasting)


def write_bytes(path: Path, content: bytes, mode: int = 0o666, *, lasting: bool = True) -> None:
    """Write a file beside its name, then rename it into place. ``mode`` is subject to the umask.

    ``lasting``: it is on the disk when this returns. Otherwise a machine that dies may leave any content under the name.
    """
    new = beside(path)
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with naming(path), open(descriptor, "wb") as file:
            file.write(content)
        if lasting:
            sync(new)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    if lasting:
        sync(path.parent)


@contextmanager
def appending(path: Path) -> Iterator[IO[str]]:
    """A text file to add lines to, made if it is not there. Raises OSError for a link: what it points to is not ours; and for what is no
    file, e.g. a named pipe, which would wait for a reader."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o666)
    with naming(path), open(descriptor, "a", encoding="utf-8") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no file, so nothing can be added to it; remove it")
        yield file


def aside(path: Path, what: str = "damaged") -> Path:
    """Move a file out of the way, whatever it is. Returns its new name, which says ``what`` it is."""
    moved = path.with_name(f"{path.name}.{what}-{uuid.uuid4().hex[:8]}")
    os.rename(path, moved)
    return moved


def signed(text: str) -> str:
    """Text, e.g. YAML, and as its last line a comment with its hash."""
    return f"{text}{_SIGNATURE}{hashlib.sha256(text.encode()).hexdigest()}\n"


def read_signed(path: Path) -> str:
    """What was :func:`signed`. Raises ValueError for a file that is anything else, OSError for one that cannot be read."""
    text = path.read_bytes()
    body, mark, _ = text.rpartition(_SIGNATURE.encode())
    if not mark or signed(body.decode()).encode() != text:
        raise ValueError("not what was written")
    return body.decode()


def sealed(content: Mapping[str, Any], *, indent: int | None = 2) -> str:
    """JSON that carries its own hash as its last key."""
    assert SEAL not in content
    plain = _as_json(content, indent)
    return _as_json({**content, SEAL: hashlib.sha256(plain.encode()).hexdigest()}, indent)


def unsealed(text: bytes, *, indent: int | None = 2) -> dict[str, Any]:
    """What was :func:`sealed`. Raises ValueError for anything else, down to a single bit."""
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(content, dict) or SEAL not in content:
        raise ValueError("carries no hash of itself")
    content.pop(SEAL)
    if sealed(content, indent=indent).encode() != text:
        raise ValueError("not what was written")
    return content


def _as_json(content: Mapping[str, Any], indent: int | None) -> str:
    return visible(json.dumps(content, indent=indent, ensure_ascii=False))
