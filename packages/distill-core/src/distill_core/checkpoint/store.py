"""The checkpoints of a run directory: which one a run goes on from, and that it is saved, at once or behind training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from distill_core.checkpoint.behind import Behind
from distill_core.checkpoint.identity import Consent, Differences, Identity
from distill_core.checkpoint.published import Checkpoint, Needed, published
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
                self._good[checkpoint.path] = False
                reasons.append(f"{checkpoint.path.name}: {error}")
                self.events.warn("checkpoint_damaged", f"{checkpoint.path} is damaged and passed over: {error}")
        if reasons:
            raise CheckpointError(
                f"no checkpoint in {self.root} can be resumed from ({' | '.join(reasons)}); restore one, or choose another output_dir"
            )
        return None

    def resume(self, state: State, named: Checkpoint | None = None) -> int:
        """Load the newest good checkpoint into ``state``, or the one that a person ``named``. Returns its step, 0 if there is none.

        Raises CheckpointError if the run rests on something else than the checkpoint, without consent, or if the named one is damaged.
        """
        checkpoint = self.newest_good() if named is None else self.ranks.from_first(lambda: self._sound(named))
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

    def _sound(self, named: Checkpoint) -> Checkpoint:
        try:
            return named.verified()
        except DamagedError as error:
            raise CheckpointError(
                f"{named.path} is damaged: {error}; name another one, or leave --resume out to go on from the newest good one"
            ) from error

    def _compare(self, checkpoint: Checkpoint) -> None:
        """Refuse, or write down, what the run rests on and the checkpoint does not."""
        there = checkpoint.manifest().identity
        found = Differences.between(there, self.identity, self.consent.left_to_the_machine)
        found.refuse(self.consent, str(checkpoint.path))
        for difference in found.rests_on.values():
            self.events.warn("accepted", f"the run goes on with other foundations: {difference}")
        for name in found.incomparable:
            self.events.warn("not_compared", f"whether {name} is what it was cannot be told")

    def save(self, state: State, step: int, sampling: ValidationRequest | None, refuse: Refuse | None = None) -> Path:
        """Publish the state after ``step``; see :meth:`Saver.save`. Returns its directory.

        If that is done behind training, the state has been copied when this returns, and no more.

        What a save behind training ended by is raised by the next one, or by :meth:`settle`.
        """
        beside = self._beside
        if beside is None:
            return self._saver.save(state, step, sampling, refuse)
        self.settle()
        self._snapshot.take(state)
        self._behind.start(lambda: beside.save(self._snapshot, step, sampling, refuse))
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
