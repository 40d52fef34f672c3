"""What W&B has in its offline runs, read from its own files: a log of blocks of 32 KiB, each record a protobuf message."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as protocol

BLOCK, HEADER = 32768, 7


def _records(path: Path) -> Iterator[Any]:
    data, place, whole = path.read_bytes(), HEADER, b""
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
        whole += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = protocol.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def told(folder: Path) -> list[dict[str, Any]]:
    """Every line of the curves of all offline runs, in the order in which ``wandb sync`` takes them."""
    lines = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for record in _records(path):
            if record.WhichOneof("record_type") == "history":
                items = {
                    item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }
                lines.append({**items, "step": record.history.step.num})
    return lines
