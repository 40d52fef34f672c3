"""The checkpoints of a run directory: which one a run goes on from, and that it is saved, at once or behind training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from distill_core.checkpoint.behind import Behind
from distill_core.checkpoint.identity import Consent, Differences, Identity
from distill_core.checkpoint.published import Checkpoint, published, records_alone
from distill_core.checkpoint.saving import Refuse, Saver
from distill_core.checkpoint.snapshot import Snapshot, State
from distill_core.errors import CheckpointError, DamagedError, DistillError
from distill_core.protocols.validator import ValidationRequest
from distill_core.ranks.ranks import ALONE, Ranks
from distill_core.tracking.events import Events

UsedT = TypeVar("UsedT")
_PATIENCE = 10.0
"""Seconds that a save which is given up may take to clear away."""


class Checkpoints:
    """The checkpoints of one run directory.

    ``identity`` is what the run rests on, ``consent`` what of it may be other than in the checkpoint that it goes on from. ``behind``:
    whether states are saved by a thread, from a copy, while the run goes on.

    Attributes:
        took: the seconds that the last save took until the checkpoint had its name; None if there was none.
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
        behind: bool = False,
    ) -> None:
        self.root = root
        self.ranks = ranks
        self.events = events
        self.keep_last = keep_last
        self.may_resume = resume
        self.identity = Identity() if identity is None else identity
        self.consent = Consent() if consent is None else consent
        self.took: float | None = None
        self._good: dict[Path, bool] = {}
        self._behind = Behind()
        self._snapshot = Snapshot()
        self._saver = self._saves(ranks)
        self._beside = self._saves(ranks.second()) if behind else None

    def published(self) -> list[Checkpoint]:
        """Every published checkpoint, newest first, good or not."""
        return published(self.root)

    def latest(self) -> Path | None:
        """The newest published checkpoint's directory."""
        return next((checkpoint.path for checkpoint in self.published()), None)

    def first_good(self, use: Callable[[Checkpoint], UsedT]) -> UsedT | None:
        """What ``use`` makes of the newest checkpoint that it raises no DamagedError for; None if there is none at all.

        Falling back to an older one is a loud event. Raises CheckpointError if there are checkpoints and none is good.
        """
        reasons = []
        for checkpoint in self.published():
            try:
                return use(checkpoint)
            except DamagedError as error:
                reasons.append(self._passed_over(checkpoint, str(error)))
        self._refuse_all(reasons)
        return None

    def resume(self, state: State, named: Checkpoint | None = None) -> int:
        """Load the newest good checkpoint into ``state``, or the one that a person ``named``. Returns its step, 0 if there is none.

        Of several processes each reads its share, once: it is verified as it is read, and what one finds damaged all pass over.
        Raises CheckpointError if the run rests on something else than the checkpoint, without consent, or if the named one is damaged.
        """
        found = self.ranks.from_first(self.published) if named is None else [named]
        if found and not self.may_resume:
            raise CheckpointError(
                f"{self.root} has checkpoints and checkpoint.resume is never; choose another output_dir"
            )
        loaded = self._newest_loaded(found, lambda checkpoint: self._load(checkpoint, state), named=named is not None)
        return 0 if loaded is None else loaded.step

    def go_back(self, state: State) -> Checkpoint | None:
        """Fill the tensors of ``state`` from the newest good checkpoint of this very run, read once likewise; its numbers stay as they are.

        Returns the checkpoint; None if there is none.
        """

        def load(checkpoint: Checkpoint) -> str | None:
            """What of it is damaged."""
            damaged = self._damaged_records(checkpoint)
            return self._filled(checkpoint, state) if damaged is None else damaged

        return self._newest_loaded(self.ranks.from_first(self.published), load)

    def _newest_loaded(
        self, found: Sequence[Checkpoint], load: Callable[[Checkpoint], str | None], *, named: bool = False
    ) -> Checkpoint | None:
        """The first checkpoint that ``load`` has no fault of; None if none is found. Raises CheckpointError if all have."""
        reasons = []
        for checkpoint in found:
            fault = load(checkpoint)
            if fault is None:
                return checkpoint
            reasons.append(self.ranks.from_first(partial(self._passed_over, checkpoint, fault, named=named)))
        self.ranks.from_first(lambda: self._refuse_all(reasons))
        return None

    def _load(self, checkpoint: Checkpoint, state: State) -> str | None:
        """Load a checkpoint. Returns what of it is damaged, on every process; ``state`` is then half filled."""
        damaged = self._damaged_records(checkpoint)
        if damaged is not None:
            return damaged
        found = self.ranks.from_first(lambda: self._compared(checkpoint))
        with found.told_of_what_is_missing():
            fault = self._filled(checkpoint, state)
        if fault is not None:
            return fault
        for difference in found.rests_on.values():
            self.events.warn("accepted", f"the run goes on with other foundations: {difference}")
        for name in found.incomparable:
            self.events.warn("not_compared", f"whether {name} is what it was cannot be told")
        state.load_numbers(checkpoint.state())
        self.events.note("resumed", f"resumed from {checkpoint.path}", step=checkpoint.step)
        return None

    def _damaged_records(self, checkpoint: Checkpoint) -> str | None:
        """What of a checkpoint's records is damaged, on every process."""
        faults = self.ranks.from_first(lambda: checkpoint.faults(records_alone))
        return "; ".join(faults) if faults else None

    def _filled(self, checkpoint: Checkpoint, state: State) -> str | None:
        """Fill the tensors. Returns what of them is damaged, on every process. A checkpoint that was read as a whole is good."""
        faults = [fault for fault in self.ranks.gather(_fault(checkpoint, state)) if fault is not None]
        if faults:
            return "; ".join(dict.fromkeys(faults))
        if checkpoint.state()["tensors"].keys() == state.tensors().keys():
            self._good[checkpoint.path] = True
        return None

    def _passed_over(self, checkpoint: Checkpoint, fault: str, *, named: bool = False) -> str:
        """Tell that a checkpoint is damaged. Returns why it is not gone on from. Raises CheckpointError for one that a person ``named``."""
        if named:
            raise CheckpointError(
                f"{checkpoint.path} is damaged: {fault}; name another one, or leave --resume out to go on from the newest good one"
            )
        self._good[checkpoint.path] = False
        self.events.warn("checkpoint_damaged", f"{checkpoint.path} is damaged and passed over: {fault}")
        return f"{checkpoint.path.name}: {fault}"

    def _refuse_all(self, reasons: Sequence[str]) -> None:
        """Raise CheckpointError if there are checkpoints, and each is passed over for a reason."""
        if reasons:
            raise CheckpointError(
                f"no checkpoint in {self.root} can be resumed from ({' | '.join(reasons)}); restore one, or choose another output_dir"
            )

    def _compared(self, checkpoint: Checkpoint) -> Differences:
        """What the run rests on and the checkpoint does not. Raises CheckpointError for what there is no consent to."""
        there = checkpoint.manifest().identity
        found = Differences.between(there, self.identity, self.consent.left_to_the_machine)
        found.refuse(self.consent, str(checkpoint.path))
        return found

    def save(self, state: State, step: int, sampling: ValidationRequest | None, refuse: Refuse | None = None) -> Path:
        """Publish the state after ``step``; see :meth:`Saver.save`. Returns its directory.

        If that is done behind training, the state has been copied when this returns, and no more.

        What a save behind training ended by is raised by the next one, or by :meth:`settle`.
        """
        beside = self._beside
        self.settle()
        began = time.monotonic()

        def saved(saver: Saver, taken: State) -> Path:
            """Publish it, here or behind."""
            path = saver.save(taken, step, sampling, refuse)
            self.took = time.monotonic() - began
            return path

        if beside is None:
            return saved(self._saver, state)
        self._snapshot.take(state)
        self._behind.start(lambda: saved(beside, self._snapshot))
        return beside.final(step)

    @property
    def failed(self) -> bool:
        """Whether a save behind training has ended by an error, which :meth:`settle` will raise."""
        return self._behind.failed

    def settle(self) -> None:
        """Wait for the save that goes on behind training, if one does. Raises what it ended by; a second Ctrl-C leaves nothing of it."""
        try:
            self._behind.settle()
        except KeyboardInterrupt:
            self.abandon()
            raise

    @contextmanager
    def left_whole(self) -> Iterator[None]:
        """Whatever ends what is inside, a save that goes on behind it is waited for; what that ended by is then told, and not raised."""
        try:
            yield
        except KeyboardInterrupt:
            self.abandon()
            raise
        except BaseException:
            try:
                self.settle()
            except (DistillError, OSError) as error:
                self.events.warn("not_saved", f"nor could the run be saved: {error}")
            raise

    def abandon(self) -> None:
        """Let the save that goes on behind training end without a checkpoint, and wait until nothing is left of it."""
        if self._beside is not None:
            self._beside.abandoned = True
            self._behind.wait(_PATIENCE)

    def retain(self) -> None:
        """Delete what is older than the newest ``keep_last`` good checkpoints, as each save does."""
        self._saver.retain()

    def _saves(self, ranks: Ranks) -> Saver:
        return Saver(
            self.root, self.events, keep_last=self.keep_last, identity=self.identity, ranks=ranks, good=self._good
        )


def _fault(checkpoint: Checkpoint, state: State) -> str | None:
    """Load a checkpoint's tensors, verified as they are read. Returns what is damaged of them."""
    try:
        checkpoint.load(state.tensors(), unverified=True)
    except DamagedError as error:
        return str(error)
    return None
