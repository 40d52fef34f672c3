"""What saving and restoring a checkpoint costs, against writing and reading as many bytes: ``uv run python benchmarks/checkpoint.py``.

Prints one line of JSON: the medians of several rounds, in which each way is timed once, so that a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill_core.checkpoint import Checkpoint, Checkpoints
from distill_core.tracking.events import Events


class Weights:
    """A state of so many bytes: a role of two thirds, and the rest, which restoring that role does not need."""

    def __init__(self, megabytes: int, tensors: int = 24) -> None:
        count = megabytes * 2**20 // 4 // tensors
        generator = torch.Generator().manual_seed(0)
        self.named = {
            f"roles.{'student' if number < tensors * 2 // 3 else 'critic'}.w{number}": torch.randn(
                count, generator=generator
            )
            for number in range(tensors)
        }

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        return self.named

    def numbers(self) -> dict[str, Any]:
        """Nothing else."""
        return {"latent_shape": [1, 1, 1, 1]}

    def load_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Nothing to put back."""


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def write_raw(path: Path, state: Weights) -> None:
    """The bytes, written to a new file and brought to disk: what any way of saving has to do."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        for tensor in state.tensors().values():
            file.write(tensor.numpy().data)
        file.flush()
        os.fsync(file.fileno())


def read_raw(path: Path, size: int) -> None:
    """So many bytes, into memory of their own."""
    buffer = bytearray(size)
    with path.open("rb") as file:
        file.readinto(buffer)


def restore(checkpoint: Checkpoint, role: Mapping[str, Tensor]) -> None:
    """Verify and load one role, and nothing else."""
    assert checkpoint.faults(lambda _: role.__contains__) == []
    checkpoint.load(role)


def one_round(state: Weights, role: Mapping[str, Tensor], root: Path, step: int) -> dict[str, float]:
    """The seconds of each way, one after the other."""
    store = Checkpoints(root / "checkpoints", Events(None), keep_last=1)
    checkpoint = Checkpoint(root / "checkpoints" / f"step-{step:08d}", step)
    copies = {name: torch.zeros_like(tensor) for name, tensor in state.named.items()}
    size = sum(tensor.nbytes for tensor in role.values())
    return {
        "copy": seconds(lambda: [copies[name].copy_(tensor) for name, tensor in state.named.items()]),
        "raw_write": seconds(lambda: write_raw(root / "raw", state)),
        "save": seconds(lambda: store.save(state, step, None)),
        "verify_all": seconds(checkpoint.faults),
        "raw_read_of_role": seconds(lambda: read_raw(root / "raw", size)),
        "restore_role": seconds(lambda: restore(checkpoint, role)),
    }


def measure(megabytes: int, rounds: int, place: Path) -> dict[str, float]:
    """The medians in seconds, and what they are of the raw ones."""
    state = Weights(megabytes)
    role = {name: torch.zeros_like(tensor) for name, tensor in state.named.items() if ".student." in name}
    with tempfile.TemporaryDirectory(dir=place) as folder:
        times = [one_round(state, role, Path(folder), step) for step in range(1, rounds + 1)]
    found = {name: statistics.median(each[name] for each in times) for name in times[0]}
    found["save_to_raw"] = found["save"] / found["raw_write"]
    found["restore_to_raw"] = found["restore_role"] / found["raw_read_of_role"]
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--place", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure"
    )
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.megabytes, arguments.rounds, arguments.place)))


if __name__ == "__main__":
    main()
