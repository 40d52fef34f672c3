"""The JSON files of a pipeline folder: read, and checked against what their readers expect. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill_core.errors import ModelFolderError
from distill_core.plugins.border import words_of

INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"

MAX_BYTES = 50_000_000
"""No description of a model is as long."""

Repeats = Annotated[int, Field(ge=1, le=1024)]
"""How often something is repeated, e.g. layers: what is written down for each of them has to stay short."""


class Json(BaseModel):
    """A file that others write: keys that are not asked for are none of our business. Defaults are those of the library that writes it."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)


JsonT = TypeVar("JsonT", bound=Json)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises ModelFolderError for one that is missing or does not."""
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ModelFolderError(f"{path} holds {size} bytes, too many for a description; fetch the folder again")
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ModelFolderError(
            f"{path} is nested too deeply to be what it should be; fetch the folder again"
        ) from error
    except FileNotFoundError as error:
        raise ModelFolderError(f"{path} is missing; the folder is incomplete, fetch it again") from error
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path} holds a {type(content).__name__}, expected an object")
    return content


def read(kind: type[JsonT], path: Path) -> JsonT:
    """A JSON file as ``kind``. Raises ModelFolderError naming the file and every key at fault."""
    return parse(kind, read_object(path), path)


def parse(kind: type[JsonT], content: Mapping[str, Any], path: Path) -> JsonT:
    """What was read from ``path`` as ``kind``. Raises ModelFolderError naming the file and every key at fault."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {words_of(fault)}" for fault in error.errors())
        raise ModelFolderError(f"{path}: {faults}") from error


def write_object(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as a person reads it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
