"""Checkpoints on disk: written beside, hashed, synced, renamed. A published one is never written to again.

``checkpoints/step-00000100/`` holds ``dcp/`` (torch.distributed.checkpoint), ``state.json`` and, written last, ``manifest.json`` with the
size and SHA-256 of every file. A directory without a valid manifest does not count.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import TypeAdapter
from torch import Tensor

from distill_core.checkpoint.tensors import load_tensors, save_tensors
from distill_core.durable import sha256, sync, write_json
from distill_core.errors import CheckpointError
from distill_core.held_signals import HeldSignals
from distill_core.protocols.validator import ValidationRequest
from distill_core.tracking.events import Events

SCHEMA = 1


class State(Protocol):
    """What can be saved, as views: saving reads through them, loading writes through them."""

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name; the owner's own, not copies."""
        ...

    def numbers(self) -> dict[str, Any]:
        """What is not a tensor, JSON-able."""
        ...

    def load_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Put back what :meth:`numbers` gave. Raises CheckpointError for those of another kind of run."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """One published checkpoint.

    Attributes:
        path: its directory.
        step: the training step after which it was made.
    """

    path: Path
    step: int

    def faults(self) -> list[str]:
        """What is wrong with its files, by size and SHA-256; empty for a good one."""
        try:
            manifest = json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))
            files: dict[str, dict[str, Any]] = manifest["files"]
        except (OSError, ValueError, KeyError) as error:
            return [f"manifest.json: {error}"]
        faults = []
        for name, expected in files.items():
            file = self.path / name
            if not file.is_file():
                faults.append(f"{name}: missing")
            elif file.stat().st_size != expected["size"] or sha256(file) != expected["sha256"]:
                faults.append(f"{name}: not what was written")
        return faults

    def state(self) -> dict[str, Any]:
        """The JSON part: step, numbers, how to sample, the tensors' names and shapes."""
        content: dict[str, Any] = json.loads((self.path / "state.json").read_text(encoding="utf-8"))
        return content

    def sampling(self) -> ValidationRequest | None:
        """How the method wants its result sampled."""
        return TypeAdapter(ValidationRequest | None).validate_python(self.state()["sampling"])

    def latent_shape(self) -> tuple[int, int, int, int]:
        """[T, C, H, W] of a training sample."""
        T, C, H, W = self.state()["latent_shape"]
        return T, C, H, W

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Fill the given tensors in place. Raises CheckpointError for a name or a shape that the checkpoint does not have."""
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
        load_tensors(self.path / "dcp", tensors)


class Checkpoints:
    """The checkpoints of one run directory."""

    def __init__(self, root: Path, events: Events, *, keep_last: int, resume: bool = True) -> None:
        self.root = root
        self.events = events
        self.keep_last = keep_last
        self.may_resume = resume
        self._damaged: set[Path] = set()

    def published(self) -> list[Checkpoint]:
        """Every published checkpoint, newest first, good or not."""
        found = [
            Checkpoint(path, int(path.name.removeprefix("step-")))
            for path in self.root.glob("step-*")
            if path.name.removeprefix("step-").isdigit() and not path.is_symlink()
        ]
        return sorted(found, key=lambda checkpoint: checkpoint.step, reverse=True)

    def latest(self) -> Path | None:
        """The newest published checkpoint's directory."""
        return next((checkpoint.path for checkpoint in self.published()), None)

    def newest_good(self) -> Checkpoint | None:
        """The newest checkpoint whose files are what was written; None if there is none at all.

        Falling back to an older one is a loud event. Raises CheckpointError if there are checkpoints and none is good.
        """
        reasons = []
        for checkpoint in self.published():
            faults = checkpoint.faults()
            if not faults:
                return checkpoint
            self._damaged.add(checkpoint.path)
            reasons.append(f"{checkpoint.path.name}: {'; '.join(faults)}")
            self.events.warn("checkpoint_damaged", f"{checkpoint.path} is damaged and passed over: {'; '.join(faults)}")
        if reasons:
            raise CheckpointError(
                f"no checkpoint in {self.root} can be resumed from ({' | '.join(reasons)}); restore one, or choose another output_dir"
            )
        return None

    def resume(self, state: State) -> int:
        """Load the newest good checkpoint into ``state``. Returns its step, 0 if there is none."""
        checkpoint = self.newest_good()
        if checkpoint is None:
            return 0
        if not self.may_resume:
            raise CheckpointError(
                f"{self.root} has checkpoints and checkpoint.resume is never; choose another output_dir"
            )
        checkpoint.load(state.tensors())
        state.load_numbers(checkpoint.state())
        self.events.note("resumed", f"resumed from {checkpoint.path}", step=checkpoint.step)
        return checkpoint.step

    def save(self, state: State, step: int, sampling: ValidationRequest | None) -> Path:
        """Publish the state after ``step``. Returns its directory.

        A good checkpoint of that step is left as it is; a damaged one, which the run was not resumed from, is moved aside.
        Ctrl-C is heeded once the checkpoint is published; a second one at once, and then nothing is left of it.
        """
        with HeldSignals(signal.SIGINT, insist=True, notice="finishing a checkpoint first; again to leave now") as held:
            final = self._publish(state, step, sampling)
        if held.received is not None:
            raise KeyboardInterrupt
        return final

    def _publish(self, state: State, step: int, sampling: ValidationRequest | None) -> Path:
        final = self.root / f"step-{step:08d}"
        if final.exists():
            if not Checkpoint(final, step).faults():
                return final
            aside = self.root / f"damaged-{step:08d}-{uuid.uuid4().hex[:8]}"
            os.rename(final, aside)
            self.events.warn("checkpoint_moved_aside", f"the damaged {final} is now {aside}")
        self._sweep()
        self.root.mkdir(parents=True, exist_ok=True)
        beside = self._unpublished(step)
        beside.mkdir()
        try:
            _write(beside, state, step, sampling)
            os.rename(beside, final)
        except BaseException as error:
            shutil.rmtree(beside, ignore_errors=True)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(self.root)  # a full disk names no file
            raise
        sync(self.root)
        self.events.note("checkpoint", f"saved {final}", step=step)
        self._damaged.discard(final)
        self._retain()
        return final

    def _unpublished(self, step: int) -> Path:
        """A new name for a checkpoint that is being made or deleted; :meth:`_sweep` removes what has such a name."""
        return self.root / f".tmp-{step:08d}-{uuid.uuid4().hex[:8]}"

    def _sweep(self) -> None:
        """Remove what a kill in the middle of saving or deleting left behind."""
        for leftover in self.root.glob(".tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)  # which follows no link

    def _retain(self) -> None:
        """Delete what is older than the newest ``keep_last`` checkpoints; those known to be damaged do not count among them."""
        kept = 0
        for checkpoint in self.published():
            if kept < self.keep_last:
                kept += checkpoint.path not in self._damaged
                continue
            leaving = self._unpublished(checkpoint.step)
            try:
                os.rename(checkpoint.path, leaving)  # a kill halfway leaves no half of it under its name
                shutil.rmtree(leaving)
            except OSError as error:
                self.events.warn("checkpoint_not_deleted", f"{checkpoint.path} could not be deleted: {error}")


def _write(folder: Path, state: State, step: int, sampling: ValidationRequest | None) -> None:
    tensors = state.tensors()
    save_tensors(folder / "dcp", tensors)
    write_json(
        folder / "state.json",
        {
            "schema": SCHEMA,
            "step": step,
            **state.numbers(),
            "sampling": None if sampling is None else asdict(sampling),
            "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
        },
    )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "schema": SCHEMA,
        "step": step,
        "torch": torch.__version__,
        "files": {
            str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": sha256(path)} for path in files
        },
    }
    write_json(folder / "manifest.json", manifest)  # which brings the folder's own entries to disk too
