"""When a run is saved, and that nothing but finite figures is. How a state comes to disk is told by :mod:`distill_core.checkpoint`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from torch import Tensor

from distill_core.checkpoint import Checkpoints, State
from distill_core.errors import NonFiniteError, PeerError
from distill_core.protocols.validator import ValidationRequest
from distill_core.ranks.ranks import Ranks
from distill_core.training.state import not_finite


def refuse_broken(tensors: Mapping[str, Tensor], step: int, ranks: Ranks) -> None:
    """Raise NonFiniteError, on every rank, for tensors that an update broke on any."""
    broken = list(dict.fromkeys(name for theirs in ranks.gather(not_finite(tensors)) for name in theirs))
    if broken:
        raise NonFiniteError(f"{', '.join(broken[:3])} not finite after the update of step {step}")


class Saving:
    """The saves of one run.

    ``interval`` is in steps, ``every`` in seconds; None never comes. The first rank's clock counts, and which step it falls on is agreed:
    each step the ranks tell each other what each has to :meth:`say`, and :meth:`hear` the most of it.

    Attributes:
        saved_at: when the run was saved last, or began, by this rank's clock.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        ranks: Ranks,
        interval: int | None,
        every: float | None,
    ) -> None:
        self.checkpoints = checkpoints
        self.ranks = ranks
        self.interval = interval
        self.every = every
        self.saved_at = self.now()
        self._time_is_up = False

    def say(self) -> tuple[int, int]:
        """Whether it is time to save by this rank's clock, and whether a save behind training has failed here."""
        time_is_up = self.ranks.first and self.every is not None and self.now() - self.saved_at >= self.every
        return int(time_is_up), int(self.checkpoints.failed)

    def now(self) -> float:
        """Seconds, by this rank's clock."""
        return time.monotonic()

    def hear(self, said: Sequence[int]) -> None:
        """What all ranks say. Raises, on all, what a save behind training failed by."""
        time_is_up, failed = said
        self._time_is_up = bool(time_is_up)
        if failed:
            self.checkpoints.settle()
            raise PeerError("another rank could not save", told=True)

    def due(self, step: int) -> bool:
        """Whether the run is to be saved after a step, by the step or the time."""
        return self._time_is_up or (self.interval is not None and step % self.interval == 0)

    def save(self, state: State, step: int, sampling: ValidationRequest | None) -> None:
        """Publish a checkpoint, of finite figures only. Behind training, all ranks look at the copy."""
        self.saved_at, self._time_is_up = self.now(), False
        self.checkpoints.save(state, step, sampling, refuse_broken)
