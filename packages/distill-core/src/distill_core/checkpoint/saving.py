"""Publishing a checkpoint: written beside, hashed, synced, renamed. A published one is never written to again.

All ranks write and hash their share; whatever keeps one of them from it keeps all; the first one publishes.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from distill_core.checkpoint.blocks import FileRecord
from distill_core.checkpoint.identity import Identity
from distill_core.checkpoint.manifest import STATE, recorded
from distill_core.checkpoint.published import DCP, Checkpoint, published
from distill_core.checkpoint.snapshot import State
from distill_core.checkpoint.tensors import save_tensors
from distill_core.durable import sync, write_json
from distill_core.errors import DiskFullError, DistillError, PeerError
from distill_core.protocols.validator import ValidationRequest
from distill_core.ranks.ranks import Ranks
from distill_core.tracking.events import Events

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_AROUND = 1_000_000
"""Bytes of a checkpoint beside its tensors, and of the records of the run that must be written too."""
MadeT = TypeVar("MadeT")
Refuse = Callable[[Mapping[str, Tensor], int, Ranks], None]
"""Raises, on all of the ranks, for tensors of a step that are not to be saved."""


class AbandonedError(Exception):
    """A save that nobody waits for any more ends itself by this."""


class Saver:
    """Publishes into one folder.

    ``good``: by its path, whether a checkpoint is what was written, as far as that is known; shared with who looks for one to go on from.

    Attributes:
        abandoned: whether a save that is going on is to end, and leave nothing.
    """

    def __init__(
        self,
        root: Path,
        events: Events,
        *,
        keep_last: int,
        identity: Identity,
        ranks: Ranks,
        good: dict[Path, bool],
    ) -> None:
        self.root = root
        self.events = events
        self.keep_last = keep_last
        self.identity = identity
        self.ranks = ranks
        self.good = good
        self.abandoned = False

    def final(self, step: int) -> Path:
        """The name of a step's checkpoint."""
        return self.root / f"step-{step:08d}"

    def save(self, state: State, step: int, sampling: ValidationRequest | None, refuse: Refuse | None = None) -> Path:
        """Publish the state after ``step``. Returns its directory.

        A good checkpoint of that step is left as it is; a damaged one, which the run was not resumed from, is moved aside.
        Whatever ends a save before it is published, e.g. a second Ctrl-C, leaves nothing of it. ``refuse`` looks before anything is
        written.
        """
        final = self.final(step)
        if refuse is not None:
            refuse(state.tensors(), step, self.ranks)
        beside = self._by_first(lambda: self._begun(final, step))
        if beside is None:
            return final
        try:
            self._by_first(lambda: self._refuse_full(state, step, None))
            written = self._write(beside, state, step, sampling)
            self._by_first(lambda: self._publish(beside, final, step, written))
        except BaseException as error:
            shutil.rmtree(beside, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in _FULL:
                self._refuse_full(state, step, error)
            raise
        self._by_first(lambda: self._published(final, step))
        return final

    def _by_first(self, make: Callable[[], MadeT]) -> MadeT:
        """What the first rank makes, on every rank. Where it fails, all do, and it with its own error."""
        own: list[Exception] = []

        def tried() -> tuple[list[MadeT], str]:
            """What it makes, or why it does not."""
            try:
                return [make()], ""
            except (OSError, DistillError) as error:
                own.append(error)
                return [], str(error)

        made, failure = self.ranks.from_first(tried)
        if own:
            raise own[0]
        if not made:
            raise PeerError(f"rank 0 could not save: {failure}", told=True)
        return made[0]

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

    def _publish(self, beside: Path, final: Path, step: int, written: Mapping[str, FileRecord]) -> None:
        """Write down what is there, and give it its name."""
        recorded(beside, step, version("distill-core"), self.identity, written).write(beside)
        self._refuse_abandoned()
        os.rename(beside, final)

    def _published(self, final: Path, step: int) -> None:
        """What follows once a checkpoint has its name."""
        sync(self.root)
        self.events.note("checkpoint", f"saved {final}", step=step)
        self.good[final] = True
        self.retain()

    def _write(
        self, folder: Path, state: State, step: int, sampling: ValidationRequest | None
    ) -> dict[str, FileRecord]:
        """Everything but the manifest. Returns the files whose hashes were taken on the way, by any process."""
        tensors = state.tensors()
        alone = self.ranks.alone
        own = save_tensors(folder / DCP, tensors, alone=alone, group=self.ranks.group, check=self._refuse_abandoned)
        written = {f"{DCP}/{name}": record for share in self.ranks.gather(own) for name, record in share.items()}
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        told = None if sampling is None else asdict(sampling)
        numbers = {"step": step, **state.numbers(), "sampling": told, "tensors": shapes}
        self._by_first(lambda: write_json(folder / STATE, numbers))
        return written

    def _refuse_abandoned(self) -> None:
        if self.abandoned:
            raise AbandonedError

    def _refuse_full(self, state: State, step: int, error: OSError | None) -> None:
        """Raise DiskFullError if there is no room for a checkpoint, or if an ``error`` says so: a quota is seen by nobody before."""
        need = sum(tensor.nbytes for tensor in state.tensors().values()) + _AROUND
        free = shutil.disk_usage(self.root).free
        if error is None and need <= free:
            return
        newest = next(iter(published(self.root)), None)
        on = "starts over: nothing was saved" if newest is None else f"goes on from {newest.path}"
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

    def retain(self) -> None:
        """Delete what is older than the newest ``keep_last`` good checkpoints. One that nobody has looked at counts once it is verified."""
        found, kept = published(self.root), 0
        if len(found) <= self.keep_last:
            return
        for checkpoint in found:
            if kept < self.keep_last:
                kept += self._is_good(checkpoint)
                continue
            leaving = self._unpublished(checkpoint.step)
            try:
                os.rename(checkpoint.path, leaving)  # a kill halfway leaves no half of it under its name
                shutil.rmtree(leaving)
            except OSError as error:
                self.events.warn("checkpoint_not_deleted", f"{checkpoint.path} could not be deleted: {error}")

    def _is_good(self, checkpoint: Checkpoint) -> bool:
        if checkpoint.path not in self.good:
            self.good[checkpoint.path] = not checkpoint.faults()
        return self.good[checkpoint.path]
