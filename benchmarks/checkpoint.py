"""What saving and restoring a checkpoint costs, against writing and reading as many bytes: ``uv run python benchmarks/checkpoint.py``.

Prints one line of JSON: seconds, medians of several rounds, in which each way is timed once, so that a busy machine slows all alike; and
ratios. ``stall`` is how long a run waits for a save behind training, ``copy`` a plain copy of the state to memory of the host that has been
written to before, as the snapshot's has. ``bytes_read_to_role`` is a count: what all read calls of the process returned (``rchar`` of
/proc/self/io) while a role was restored and verified, by the bytes of the role; ``bytes_read_to_go_on`` the same of a run that goes on.
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

from distill_core.checkpoint import Checkpoint, Checkpoints, records_alone
from distill_core.tracking.events import Events
from distill_core.training.saving import refuse_broken
from distill_core.training.state import not_finite


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


def save(store: Checkpoints, state: Weights, step: int) -> None:
    """Save as a run does: what is not finite is not saved."""
    assert not_finite(state.tensors()) == []
    store.save(state, step, None)


def begin(store: Checkpoints, state: Weights, step: int) -> None:
    """Save behind training, as a run does: what is not finite is not saved, and the thread looks."""
    store.save(state, step, None, refuse_broken)


def restore(checkpoint: Checkpoint, role: Mapping[str, Tensor]) -> None:
    """Verify and load one role, and nothing else."""
    checkpoint.verified(records_alone).load(role, unverified=True)


def bytes_read() -> int:
    """What all read calls of this process have returned so far."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines())
    return int(fields["rchar"])


def read_by(work: Callable[[], object]) -> int:
    """How many bytes it reads."""
    before = bytes_read()
    work()
    return bytes_read() - before


def one_round(
    state: Weights, role: Mapping[str, Tensor], copies: Mapping[str, Tensor], behind: Checkpoints, root: Path, step: int
) -> dict[str, float]:
    """The seconds of each way, one after the other."""
    store = Checkpoints(root / "checkpoints", Events(None), keep_last=1)
    checkpoint = Checkpoint(root / "checkpoints" / f"step-{step:08d}", step)
    size = sum(tensor.nbytes for tensor in role.values())
    return {
        "copy": seconds(lambda: [copies[name].copy_(tensor) for name, tensor in state.named.items()]),
        "stall": seconds(lambda: begin(behind, state, step)),
        "behind": seconds(behind.settle),
        "raw_write": seconds(lambda: write_raw(root / "raw", state)),
        "save": seconds(lambda: save(store, state, step)),
        "verify_all": seconds(checkpoint.faults),
        "raw_read_of_role": seconds(lambda: read_raw(root / "raw", size)),
        "restore_role": seconds(lambda: restore(checkpoint, role)),
        "bytes_read_to_role": read_by(lambda: restore(checkpoint, role)) / size,
        "go_on": seconds(lambda: store.resume(state)),
        "bytes_read_to_go_on": read_by(lambda: store.resume(state)) / sum(each.nbytes for each in state.named.values()),
    }


def measure(megabytes: int, rounds: int, place: Path) -> dict[str, float]:
    """The medians of seconds, and of what they are of the raw ones in the same round."""
    state = Weights(megabytes)
    role = {name: torch.zeros_like(tensor) for name, tensor in state.named.items() if ".student." in name}
    copies = {name: tensor.clone() for name, tensor in state.named.items()}
    with tempfile.TemporaryDirectory(dir=place) as folder:
        root = Path(folder)
        behind = Checkpoints(root / "behind", Events(None), keep_last=1, behind=True)
        begin(behind, state, 0)
        behind.settle()
        times = [one_round(state, role, copies, behind, root, step) for step in range(1, rounds + 1)]
    for each in times:
        each["stall_to_copy"] = each["stall"] / each["copy"]
        each["save_to_raw"] = each["save"] / each["raw_write"]
        each["restore_to_raw"] = each["restore_role"] / each["raw_read_of_role"]
    return {name: round(statistics.median(each[name] for each in times), 3) for name in times[0]}


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
