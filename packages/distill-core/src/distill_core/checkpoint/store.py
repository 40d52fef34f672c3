"""Checkpoints on disk: written beside, hashed, synced, renamed. A published one is never written to again.

``checkpoints/step-00000100/`` holds ``dcp/`` (torch.distributed.checkpoint), ``state.json`` and, written last, ``manifest.json``
(:mod:`distill_core.checkpoint.manifest`). A directory whose content is not, to the bit, what its manifest says is damaged, and passed over.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter
from torch import Tensor

from distill_core.checkpoint.blocks import FileRecord
from distill_core.checkpoint.identity import Consent, Differences, Identity
from distill_core.checkpoint.manifest import MANIFEST, STATE, Manifest, recorded
from distill_core.checkpoint.tensors import INDEX, load_tensors, places, save_tensors
from distill_core.durable import sync, write_json
from distill_core.errors import CheckpointError, DamagedError, DiskFullError
from distill_core.plugins.border import describe
from distill_core.protocols.validator import ValidationRequest
from distill_core.ranks.ranks import ALONE, Ranks
from distill_core.tracking.events import Events

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_AROUND = 1_000_000
"""Bytes of a checkpoint beside its tensors, and of the records of the run that must be written too."""
DCP = "dcp"
"""The folder of the tensors."""
_READ_FIRST = (STATE, f"{DCP}/{INDEX}")
"""What has to be verified before it can be known where the tensors lie."""
_ALL = 2**62
_PUBLISHED = re.compile(r"step-([0-9]{8,18})")


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
        except (OSError, ValueError, LookupError, TypeError, RecursionError, CheckpointError) as error:
            return [f"{MANIFEST}: {describe(error)}"]

    def manifest(self) -> Manifest:
        """Which checkpoint it is. Raises CheckpointError for one that is damaged."""
        try:
            return Manifest.read(self.path)
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{self.path / MANIFEST} is damaged: {describe(error)}") from error

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


UsedT = TypeVar("UsedT")


class Checkpoints:
    """The checkpoints of one run directory.

    ``identity`` is what the run rests on, ``consent`` what of it may be other than in the checkpoint that it goes on from.
    """

    def __init__(
        self,
        root: Path,
        events: Events,
        *,
        keep_last: int,
        resume: bool = True,
        identity: Identity | None = None,
        consent: Consent | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.root = root
        self.ranks = ranks
        self.events = events
        self.keep_last = keep_last
        self.may_resume = resume
        self.identity = Identity() if identity is None else identity
        self.consent = Consent() if consent is None else consent
        self._damaged: set[Path] = set()

    def published(self) -> list[Checkpoint]:
        """Every published checkpoint, newest first, good or not."""
        named = ((path, _PUBLISHED.fullmatch(path.name)) for path in self.root.glob("step-*") if not path.is_symlink())
        found = [Checkpoint(path, int(match[1])) for path, match in named if match is not None]
        return sorted(found, key=lambda checkpoint: checkpoint.step, reverse=True)

    def latest(self) -> Path | None:
        """The newest published checkpoint's directory."""
        return next((checkpoint.path for checkpoint in self.published()), None)

    def newest_good(self, needed: Needed | None = None) -> Checkpoint | None:
        """The newest checkpoint whose files are what was written; None if there is none at all. ``needed``: as for its faults.

        Of several processes the first one looks. Falling back to an older one is a loud event. Raises CheckpointError if there are
        checkpoints and none is good.
        """
        return self.ranks.from_first(lambda: self.first_good(lambda checkpoint: checkpoint.verified(needed)))

    def first_good(self, use: Callable[[Checkpoint], UsedT]) -> UsedT | None:
        """What ``use`` makes of the newest checkpoint that it raises no DamagedError for; None, or CheckpointError, likewise."""
        reasons = []
        for checkpoint in self.published():
            try:
                return use(checkpoint)
            except DamagedError as error:
                self._damaged.add(checkpoint.path)
                reasons.append(f"{checkpoint.path.name}: {error}")
                self.events.warn("checkpoint_damaged", f"{checkpoint.path} is damaged and passed over: {error}")
        if reasons:
            raise CheckpointError(
                f"no checkpoint in {self.root} can be resumed from ({' | '.join(reasons)}); restore one, or choose another output_dir"
            )
        return None

    def resume(self, state: State) -> int:
        """Load the newest good checkpoint into ``state``. Returns its step, 0 if there is none.

        Raises CheckpointError if the run rests on something else than the checkpoint, without consent.
        """
        checkpoint = self.newest_good()
        if checkpoint is None:
            return 0
        if not self.may_resume:
            raise CheckpointError(
                f"{self.root} has checkpoints and checkpoint.resume is never; choose another output_dir"
            )
        if self.ranks.first:
            self._compare(checkpoint)
        checkpoint.load(state.tensors())
        state.load_numbers(checkpoint.state())
        self.events.note("resumed", f"resumed from {checkpoint.path}", step=checkpoint.step)
        return checkpoint.step

    def _compare(self, checkpoint: Checkpoint) -> None:
        """Refuse, or write down, what the run rests on and the checkpoint does not."""
        there = checkpoint.manifest().identity
        found = Differences.between(there, self.identity, self.consent.left_to_the_machine)
        found.refuse(self.consent, str(checkpoint.path))
        for difference in found.rests_on.values():
            self.events.warn("accepted", f"the run goes on with other foundations: {difference}")
        for name in found.incomparable:
            self.events.warn("not_compared", f"whether {name} is what it was cannot be told")

    def save(self, state: State, step: int, sampling: ValidationRequest | None) -> Path:
        """Publish the state after ``step``. Returns its directory.

        A good checkpoint of that step is left as it is; a damaged one, which the run was not resumed from, is moved aside.
        Whatever ends a save before it is published, e.g. a second Ctrl-C, leaves nothing of it. All processes write tensors; the first
        one does the rest.
        """
        final = self.root / f"step-{step:08d}"
        beside = self.ranks.from_first(lambda: self._begun(final, step))
        if beside is None:
            return final
        try:
            if self.ranks.first:
                self._refuse_full(state, step, None)
            written = self._write(beside, state, step, sampling)
            if self.ranks.first:
                recorded(beside, step, version("distill-core"), self.identity, written).write(beside)
                os.rename(beside, final)
        except BaseException as error:
            shutil.rmtree(beside, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in _FULL:
                self._refuse_full(state, step, error)
            raise
        self.ranks.from_first(lambda: self._published(final, step))
        return final

    def _begun(self, final: Path, step: int) -> Path | None:
        """The folder to write into; None if there is a good checkpoint of the step already."""
        if final.exists():
            if not Checkpoint(final, step).faults():
                return None
            aside = self.root / f"damaged-{step:08d}-{uuid.uuid4().hex[:8]}"
            os.rename(final, aside)
            self.events.warn("checkpoint_moved_aside", f"the damaged {final} is now {aside}")
        self._sweep()
        self.root.mkdir(parents=True, exist_ok=True)
        beside = self._unpublished(step)
        beside.mkdir()
        return beside

    def _published(self, final: Path, step: int) -> None:
        """What follows once a checkpoint has its name."""
        sync(self.root)
        self.events.note("checkpoint", f"saved {final}", step=step)
        self._damaged.discard(final)
        self._retain()

    def _write(
        self, folder: Path, state: State, step: int, sampling: ValidationRequest | None
    ) -> dict[str, FileRecord]:
        """Everything but the manifest. Returns the files whose hashes were taken on the way, by any process."""
        tensors = state.tensors()
        own = save_tensors(folder / DCP, tensors, alone=self.ranks.alone)
        if self.ranks.first:
            write_json(
                folder / STATE,
                {
                    "step": step,
                    **state.numbers(),
                    "sampling": None if sampling is None else asdict(sampling),
                    "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
                },
            )
        return {f"{DCP}/{name}": record for written in self.ranks.gather(own) for name, record in written.items()}

    def _refuse_full(self, state: State, step: int, error: OSError | None) -> None:
        """Raise DiskFullError if there is no room for a checkpoint, or if an ``error`` says so: a quota is seen by nobody before."""
        need = sum(tensor.nbytes for tensor in state.tensors().values()) + _AROUND
        free = shutil.disk_usage(self.root).free
        if error is None and need <= free:
            return
        newest = self.latest()
        on = "starts over: nothing was saved" if newest is None else f"goes on from {newest}"
        reason = "" if error is None else f" ({error.strerror})"
        raise DiskFullError(
            f"{self.root}: no room for the checkpoint of step {step}{reason}: it takes {need / 1e6:.1f} MB and {free / 1e6:.1f} MB are "
            f"free there; free some space, and the same command {on}"
        ) from error

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
