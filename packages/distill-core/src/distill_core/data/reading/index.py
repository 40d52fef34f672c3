"""What was found of every row of a large data set, kept beside it for the next start: footers need not be parsed, nor shapes looked at.

A file is taken as it was found while its size, the time of its last change and its mark (of its footer, and of places of its pages) are the
same. Without an index, or with a damaged one, a data set is looked at as if there had never been one. Knows no run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from distill_core.data.reading.files import DAMAGE, ParquetFacts
from distill_core.data.reading.footers import mark
from distill_core.data.reading.kinds import Found, Kind
from distill_core.durable import aside, sealed, unsealed, write_bytes
from distill_core.user_cache import user_cache

NAME = ".distill-index"
"""The index of a data set, in its folder."""
WORTH_ROWS = 20_000
WORTH_GROUPS = 2_000
"""A data set of fewer rows, and of fewer row groups, is looked at in less than a second."""
ENDS, PLACES = np.dtype("<i8"), np.dtype("<i4")


class _Kind(BaseModel):
    """A kind, or why rows have none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    latent_CTHW: list[int] | None = None
    text_LD: list[int] = []
    fault: str | None = None

    @classmethod
    def of(cls, what: Kind | str) -> _Kind:
        """As it is kept."""
        if isinstance(what, str):
            return cls(fault=what)
        latent = what.latent_CTHW
        return cls(latent_CTHW=None if latent is None else list(latent), text_LD=list(what.text_LD))

    def found(self) -> Kind | str:
        """As it was found."""
        if self.fault is not None:
            return self.fault
        return Kind(None if self.latent_CTHW is None else tuple(self.latent_CTHW), tuple(self.text_LD))


class _File(BaseModel):
    """A file as it was when it was looked at, with the row groups and rows that it has in the arrays behind the head."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    size: int
    modified_ns: int
    mark: str
    schema_number: int
    groups: int
    rows: int
    kinds: list[_Kind]


class _Head(BaseModel):
    """The first line of an index."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    schemas: list[str]
    files: list[_File]
    arrays: str


@dataclass(frozen=True, eq=False)
class _Known:
    """What an index has of one file."""

    file: _File
    schema: pa.Schema
    group_ends: np.ndarray
    found: Found


class DatasetIndex:
    """The index of the data set at a path.

    Attributes:
        remarks: what is to be said of it: that it was damaged.
    """

    def __init__(self, root: Path) -> None:
        self.remarks: list[str] = []
        self._root = root
        self._marks: dict[str, str] = {}
        self._known = self._read()
        self._whole = bool(self._known)

    def facts(self, path: Path) -> ParquetFacts | None:
        """What the footer of a file says, if it is the one that was looked at."""
        name = self._name(path)
        try:
            now = path.stat()
            self._marks[name] = mark(path)
        except OSError:
            return None
        known = self._known.get(name)
        here = (now.st_size, now.st_mtime_ns, self._marks[name])
        if known is None or here != (known.file.size, known.file.modified_ns, known.file.mark):
            self._known.pop(name, None)
            self._whole = False
            return None
        return ParquetFacts(path, name, now.st_size, known.schema, tuple(known.group_ends.tolist()), now.st_mtime_ns)

    def found(self, facts: ParquetFacts) -> Found | None:
        """What was found of the rows of a file, if it is known."""
        known = self._known.get(facts.name)
        return None if known is None else known.found

    def keep(self, files: Sequence[ParquetFacts], found: Sequence[Found]) -> None:
        """Write down what was found of each file, where that is worth it and not known yet, and can be."""
        large = sum(file.rows for file in files) >= WORTH_ROWS or sum(len(f.group_ends) for f in files) >= WORTH_GROUPS
        if self._whole or not large or not all(file.name in self._marks for file in files):
            return
        content = _packed(files, found, [self._marks[file.name] for file in files])
        for path in self._places():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path, content)
            except OSError:
                continue
            self._whole = True
            return

    def _name(self, path: Path) -> str:
        return path.name if path == self._root else path.relative_to(self._root).as_posix()

    def _places(self) -> Iterator[Path]:
        """Where the index may lie: in the data set's folder, or in the user's cache where that may not be written to."""
        if self._root.is_dir():
            yield self._root / NAME
        place = hashlib.sha256(str(self._root.resolve()).encode()).hexdigest()[:32]
        yield user_cache("data") / place

    def _read(self) -> dict[str, _Known]:
        """What was kept, by the names of files."""
        for path in self._places():
            try:
                content = path.read_bytes()
            except OSError:
                continue
            try:
                return {known.file.name: known for known in _unpacked(content)}
            except (*DAMAGE, ValueError, LookupError):
                self._discard(path)
        return {}

    def _discard(self, path: Path) -> None:
        """Move an index that is not what was written out of the way, and say so."""
        try:
            moved = f"it is now {aside(path)}, and"
        except OSError:
            moved = "and"
        self.remarks.append(f"{path}, the index of the data set, is damaged; {moved} all rows were looked at anew")


def _packed(files: Sequence[ParquetFacts], found: Sequence[Found], marks: Sequence[str]) -> bytes:
    """An index: a line of sealed JSON, and arrays that it has the hash of."""
    schemas: dict[bytes, int] = {}
    kept = [
        _File(
            name=file.name,
            size=file.size,
            modified_ns=file.modified_ns,
            mark=each_mark,
            schema_number=schemas.setdefault(file.schema.serialize().to_pybytes(), len(schemas)),
            groups=len(file.group_ends),
            rows=file.rows,
            kinds=[_Kind.of(what) for what in each.what],
        )
        for file, each, each_mark in zip(files, found, marks, strict=True)
    ]
    ends = np.concatenate([np.array(file.group_ends, ENDS) for file in files])
    arrays = ends.tobytes() + np.concatenate([each.of_row.astype(PLACES) for each in found]).tobytes()
    head = _Head(
        schemas=[base64.b64encode(schema).decode() for schema in schemas],
        files=kept,
        arrays=hashlib.sha256(arrays).hexdigest(),
    )
    return sealed(head.model_dump(mode="json"), indent=None).encode() + b"\n" + arrays


def _unpacked(content: bytes) -> Iterable[_Known]:
    """What was packed. Raises ValueError, LookupError or one of DAMAGE for anything else, or for what another version packed."""
    line, _, arrays = content.partition(b"\n")
    head = _Head.model_validate(unsealed(line, indent=None))
    if hashlib.sha256(arrays).hexdigest() != head.arrays:
        raise ValueError("not what was written")
    schemas = [pa.ipc.read_schema(pa.py_buffer(base64.b64decode(schema))) for schema in head.schemas]
    groups = sum(file.groups for file in head.files)
    every_end = np.frombuffer(arrays, ENDS, groups)
    of_row = np.frombuffer(arrays, PLACES, offset=groups * ENDS.itemsize)
    ends = [0, *accumulate(file.groups for file in head.files)]
    rows = [0, *accumulate(file.rows for file in head.files)]
    return [
        _Known(
            file,
            schemas[file.schema_number],
            every_end[ends[number] : ends[number + 1]],
            Found([kind.found() for kind in file.kinds], of_row[rows[number] : rows[number + 1]]),
        )
        for number, file in enumerate(head.files)
    ]
