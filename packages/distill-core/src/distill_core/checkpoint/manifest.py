"""A checkpoint's manifest: which checkpoint it is, what its run rests on, and every file of it by size and hash. Knows no tensor."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill_core.checkpoint.blocks import FileRecord, record_of
from distill_core.checkpoint.identity import Identity
from distill_core.durable import sealed, unsealed, write_text
from distill_core.plugins.border import words_of

SCHEMA: Final = 2
"""Rises when checkpoints come to be written in another way."""
MANIFEST = "manifest.json"
STATE = "state.json"
_LARGEST = 100_000_000


class Manifest(BaseModel):
    """What ``manifest.json`` says, all of it.

    Attributes:
        version: the schema.
        step: the training step after which the checkpoint was made.
        distill: the version of distill-core that made it.
        identity: what the run rests on.
        files: every file but this one, by its path in the checkpoint's folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    version: Annotated[Literal[2], Field(alias="schema")]
    step: Annotated[int, Field(ge=0)]
    distill: str
    identity: Identity
    files: Annotated[dict[str, FileRecord], Field(min_length=1)]

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a checkpoint's folder. Raises ValueError or OSError for one that is not, to the bit, what was written."""
        path = folder / MANIFEST
        if not path.exists():
            raise ValueError("missing")
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
            raise ValueError("no file that distill wrote")
        text = path.read_bytes()
        _refuse_version(text)
        try:
            return cls.model_validate(unsealed(text))
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {words_of(first)}") from error

    def write(self, folder: Path) -> None:
        """Write it, last of all: a folder without it is no checkpoint."""
        write_text(folder / MANIFEST, sealed(self.model_dump(mode="json", by_alias=True)))

    def faults(self, folder: Path, only: Mapping[str, Sequence[range]] | None = None) -> list[str]:
        """How the folder's files differ from this record: each that is missing, is not what was written, or is one too many.

        ``only``: by file, the bytes that are read; None reads all of all files.
        """
        faults = []
        for name, record in self.files.items():
            if not _inside(name):
                faults.append(f"{name!r} is no path of a checkpoint")
            elif (fault := record.fault(folder / name, None if only is None else only.get(name, ()))) is not None:
                faults.append(f"{name}: {fault}")
        extra = sorted(set(_names(folder)) - self.files.keys() - {MANIFEST})
        if STATE not in self.files:
            faults.append(f"{STATE}: not recorded")
        return faults + [f"{name}: not recorded" for name in extra]


def recorded(
    folder: Path, step: int, distill: str, identity: Identity, known: Mapping[str, FileRecord] | None = None
) -> Manifest:
    """The manifest of a folder as it is now. ``known``: files whose hash was taken while they were written."""
    names = [name for name in _names(folder) if name != MANIFEST]
    files = {name: (known or {}).get(name) or record_of(folder / name) for name in names}
    return Manifest(version=SCHEMA, step=step, distill=distill, identity=identity, files=files)


def _names(folder: Path) -> list[str]:
    """Everything in a folder and below that is no folder, links among them, by path."""
    found = []
    for parent, folders, names in os.walk(folder):
        linked = [name for name in folders if Path(parent, name).is_symlink()]
        found += [Path(parent, name).relative_to(folder).as_posix() for name in (*names, *linked)]
    return sorted(found)


def _inside(name: str) -> bool:
    """Whether a recorded name can be that of a file in the folder."""
    return not name.startswith("/") and ".." not in name.split("/") and "\0" not in name


def _refuse_version(text: bytes) -> None:
    """Raise ValueError for a manifest of another schema, which is no damage."""
    content: Any = json.loads(text)
    version = content.get("schema") if isinstance(content, dict) else None
    if isinstance(version, int) and version != SCHEMA:
        raise ValueError(
            f"made by another version of distill (schema {version}, this one reads {SCHEMA}); go on with that version"
        )
