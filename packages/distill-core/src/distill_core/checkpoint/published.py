"""One published checkpoint: whether it is, to the bit, what was written, and what is read of it. Writes nothing.

``checkpoints/step-00000100/`` holds ``dcp/`` (torch.distributed.checkpoint), ``state.json`` and, written last, ``manifest.json``
(:mod:`distill_core.checkpoint.manifest`). A directory whose content is not, to the bit, what its manifest says is damaged, and passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor

from distill_core.checkpoint.manifest import MANIFEST, STATE, Manifest
from distill_core.checkpoint.tensors import INDEX, load_tensors, places
from distill_core.errors import CheckpointError, DamagedError
from distill_core.plugins.border import reason
from distill_core.protocols.validator import ValidationRequest

DCP = "dcp"
"""The folder of the tensors."""
_READ_FIRST = (STATE, f"{DCP}/{INDEX}")
"""What has to be verified before it can be known where the tensors lie."""
_ALL = 2**62
_PUBLISHED = re.compile(r"step-([0-9]{8,18})")


@dataclass(frozen=True)
class Checkpoint:
    """One published checkpoint.

    Attributes:
        path: its directory.
        step: the training step after which it was made.
    """

    path: Path
    step: int

    def faults(self, needed: Needed | None = None) -> list[str]:
        """What is wrong with it: empty only if every byte that is read is what was written, and is of this step. Raises nothing.

        ``needed``: which tensors will be read; the others are left unread. None reads all.
        """
        try:
            manifest = Manifest.read(self.path)
            faults = manifest.faults(
                self.path, None if needed is None else {name: (range(_ALL),) for name in _READ_FIRST}
            )
            if faults:
                return faults
            if (manifest.step, self.state()["step"]) != (self.step, self.step):
                return [f"it is of step {manifest.step}, renamed or copied"]
            if needed is None:
                return []
            found = places(self.path / DCP, needed(self))
            return manifest.faults(self.path, {f"{DCP}/{name}": ranges for name, ranges in found.items()})
        except CheckpointError as error:
            return [str(error)]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            return [f"{MANIFEST}: {reason(error)}"]

    def manifest(self) -> Manifest:
        """Which checkpoint it is. Raises CheckpointError for one that is damaged."""
        try:
            return Manifest.read(self.path)
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{self.path / MANIFEST} is damaged: {reason(error)}") from error

    def state(self) -> dict[str, Any]:
        """The JSON part: step, numbers, how to sample, the tensors' names and shapes."""
        content: dict[str, Any] = json.loads((self.path / STATE).read_text(encoding="utf-8"))
        return content

    def sampling(self) -> ValidationRequest | None:
        """How the method wants its result sampled."""
        return TypeAdapter(ValidationRequest | None).validate_python(self.state()["sampling"])

    def latent_shape(self) -> tuple[int, int, int, int]:
        """[T, C, H, W] of a training sample."""
        T, C, H, W = self.state()["latent_shape"]
        return T, C, H, W

    def verified(self, needed: Needed | None = None) -> Checkpoint:
        """This checkpoint. Raises DamagedError if it has :meth:`faults`."""
        faults = self.faults(needed)
        if faults:
            raise DamagedError("; ".join(faults))
        return self

    def load(self, tensors: Mapping[str, Tensor], *, unverified: bool = False) -> None:
        """Fill the given tensors in place. Raises CheckpointError for a name or a shape that the checkpoint does not have.

        ``unverified``: whether nobody has looked for :meth:`faults` in what is read: it is looked at as it is read, and DamagedError raised
        for the first, with the tensors left half filled.
        """
        stored = self.state()["tensors"]
        for name, tensor in tensors.items():
            if name not in stored:
                raise CheckpointError(
                    f"{self.path} has no {name}; it was made with other roles, EMA settings or modules"
                )
            if stored[name] != list(tensor.shape):
                raise CheckpointError(
                    f"{self.path}: {name} has shape {stored[name]}, this run's has {list(tensor.shape)}"
                )
        records = None
        if unverified:
            files = self.manifest().files
            records = {name.removeprefix(f"{DCP}/"): record for name, record in files.items() if name.startswith(DCP)}
        load_tensors(self.path / DCP, tensors, records)


Needed = Callable[[Checkpoint], Callable[[str], bool]]
"""Which tensors of a checkpoint will be read, by their names."""


def records_alone(_: Checkpoint) -> Callable[[str], bool]:
    """None of its tensors: they are verified as they are loaded. Its records and their sizes are what is looked at."""
    return lambda _: False


def published(root: Path) -> list[Checkpoint]:
    """Every published checkpoint of a folder, newest first, good or not."""
    found = [checkpoint for path in root.glob("step-*") if (checkpoint := at(path)) is not None]
    return sorted(found, key=lambda checkpoint: checkpoint.step, reverse=True)


def at(path: Path) -> Checkpoint | None:
    """The checkpoint that lies at a path, good or not; None if what lies there has no name of one."""
    match = _PUBLISHED.fullmatch(path.name)
    return None if match is None or path.is_symlink() or not path.is_dir() else Checkpoint(path, int(match[1]))
