"""Whether the weights of a folder are whole, by their headers, before a run; `loading.py` sees whether they fit the model.

Reads no tensor and imports no torch. Weights in the old ``.bin`` format have no header to check.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distill_core.errors import ModelFolderError

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000


def refuse_damaged(part: Path) -> None:
    """Raise ModelFolderError for a safetensors file that is cut short or is none, and for a shard that is not there."""
    for index in part.glob("*.safetensors.index.json"):
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        missing = sorted(name for name in shards if not (part / name).is_file())
        if missing:
            raise ModelFolderError(f"{part} lacks {', '.join(missing)}, which its index names; fetch it again")
    for file in sorted(part.glob("*.safetensors")):
        expected = _size_by_header(file)
        if expected != file.stat().st_size:
            raise ModelFolderError(
                f"{file} is damaged: it has {file.stat().st_size} bytes, its header speaks of {expected}; fetch it again"
            )


def _size_by_header(file: Path) -> int:
    """The bytes that a safetensors file should have. Raises ModelFolderError if it is none."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        text = stream.read(length) if length <= _LONGEST_HEADER else b""
    try:
        header: dict[str, Any] = json.loads(text)
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFolderError(f"{file} is no safetensors file; fetch it again") from error
    return _LENGTH_BYTES + length + max(ends, default=0)
