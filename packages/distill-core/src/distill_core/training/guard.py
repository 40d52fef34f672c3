"""Whether a training step is finite, judged on the device before any weight changes; the host hears of it when it asks.

What follows from a step that is not (stop, skip, roll back) is the trainer's to decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from distill_core.training.guarded_adamw import Flag
from distill_core.training.metrics import row_of


@dataclass(frozen=True)
class BrokenStep:
    """A step that was not applied.

    Attributes:
        step: the training step.
        what: the losses and gradient norms that were not finite.
        rows: ids of the data's rows that were in them.
        but: the roles that had stepped before, soundly.
    """

    step: int
    what: tuple[str, ...]
    rows: tuple[str, ...]
    but: tuple[str, ...] = ()

    @property
    def applied(self) -> str:
        """What of it was, for a message."""
        return f"of it only {' and '.join(self.but)} stepped, before" if self.but else "nothing of it was applied"

    def __str__(self) -> str:
        return (
            f"{', '.join(self.what)} not finite at step {self.step}, made from rows {', '.join(map(repr, self.rows))}"
        )


@dataclass(frozen=True)
class _Seen:
    """A loss or a norm, and the rows that are in it."""

    step: int
    name: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class _Judged:
    """What was seen up to a verdict, and its figures, [len(seen) + further ones]; ``but``: the roles that had stepped by then."""

    seen: tuple[_Seen, ...]
    told: Tensor
    but: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a step came to, up to here.

    Attributes:
        names: of the losses and norms that were judged, and of the figures that came along.
        values: theirs, [len(names)], on the device.
        flag: whether the step may be applied.
    """

    names: tuple[str, ...]
    values: Tensor
    flag: Flag


class FiniteGuard:
    """Sees each loss and each gradient norm of a step. Costs no transfer until :meth:`broken_steps` is asked for.

    ``freeze``: after a broken step no step is applied any more, until :meth:`thaw`.

    Attributes:
        device: where losses and norms are.
    """

    def __init__(self, device: torch.device, *, freeze: bool) -> None:
        self._freeze = freeze
        self.device = device
        self._open: list[tuple[_Seen, Tensor]] = []
        self._judged: list[_Judged] = []
        self._at = 0
        self._one = torch.ones((), dtype=torch.float32, device=device)
        self._broken = self._none()

    def _none(self) -> Tensor:
        return torch.zeros((), dtype=torch.float32, device=self.device)

    def see(self, step: int, name: str, value: Tensor, rows: Sequence[str]) -> None:
        """A loss, or a norm, of a step that has not been judged yet. It must keep its number until then."""
        self._open.append((_Seen(step, name, tuple(rows)), value))

    def poison(self) -> Tensor:
        """What has been seen of a step that is not judged yet, as one scalar on the device: 0, but NaN if any of it is not finite."""
        values = row_of(tuple(value for _, value in self._open))
        return torch.dot(values, torch.zeros_like(values))

    def judge(
        self,
        step: int,
        norms: Mapping[str, Tensor],
        elsewhere: Tensor | None = None,
        figures: Sequence[tuple[str, Tensor]] = (),
        but: Sequence[str] = (),
    ) -> Verdict:
        """Whether the step may be applied. ``norms``: of gradients, by name. ``elsewhere``: the poison of all ranks.

        ``figures``: scalars that are no reason to refuse a step, and are copied with those that are. ``but``: roles that have stepped after
        an earlier verdict on the same step; one that refused holds for what follows of the step too.
        """
        rows = tuple(dict.fromkeys(row for seen, _ in self._open for row in seen.rows))
        for name, norm in norms.items():
            self.see(step, name, norm, rows)
        seen, values = zip(*self._open, strict=True)
        self._open = []
        of_ranks = () if elsewhere is None else (elsewhere,)
        row = row_of((*of_ranks, *values, *(value for _, value in figures)))
        self._find(step, row[: len(row) - len(figures)] if figures else row)
        told = row[len(of_ranks) :] if of_ranks else row
        self._judged.append(_Judged(seen, told, tuple(but)))
        return Verdict((*(each.name for each in seen), *(name for name, _ in figures)), told, Flag(self._broken))

    def _find(self, step: int, judged: Tensor) -> None:
        """Note on the device whether any of it is infinite or NaN; it stays noted for the step, or for good where the guard freezes."""
        if not self._freeze and step != self._at:
            self._broken = self._none()
        self._at = step
        torch._amp_foreach_non_finite_check_and_unscale_([judged], self._broken, self._one)

    def broken_steps(self) -> list[BrokenStep]:
        """The steps since the last call that were not applied for what they saw, with one transfer."""
        if not self._judged:
            return []
        found = iter(torch.cat([judged.told for judged in self._judged]).tolist())
        broken: dict[int, list[_Seen]] = {}
        but: dict[int, tuple[str, ...]] = {}
        for judged in self._judged:
            for each, value in zip(judged.seen, list(islice(found, len(judged.told))), strict=False):  # figures follow
                if not math.isfinite(value):
                    broken.setdefault(each.step, []).append(each)
                    but.setdefault(each.step, judged.but)
        self._judged = []
        return [_broken_step(step, seen, but[step]) for step, seen in broken.items()]

    def thaw(self) -> None:
        """Apply steps again, and forget what was seen."""
        self._open, self._judged = [], []
        self._broken = self._none()


def _broken_step(step: int, seen: Sequence[_Seen], but: tuple[str, ...]) -> BrokenStep:
    """Where a loss is broken, the gradient is because of it, and only the loss's rows are to blame."""
    narrowest = min(len(each.rows) for each in seen)
    rows = dict.fromkeys(row for each in seen if len(each.rows) == narrowest for row in each.rows)
    return BrokenStep(step, tuple(dict.fromkeys(each.name for each in seen)), tuple(rows), but)


def of_all(found: Sequence[Sequence[BrokenStep]]) -> list[BrokenStep]:
    """The broken steps that the ranks of a run have seen, as one rank that has all their rows would tell them.

    Norms are the same on all ranks, so where anything else is broken only those that have seen it are to blame.
    """
    by_step: dict[int, list[BrokenStep]] = {}
    for broken in (each for theirs in found for each in theirs):
        by_step.setdefault(broken.step, []).append(broken)
    told = []
    for step, seen in sorted(by_step.items()):
        everywhere = set(seen[0].what).intersection(*(each.what for each in seen)) if len(seen) == len(found) else set()
        to_blame = [each for each in seen if set(each.what) - everywhere] or seen
        what = dict.fromkeys(name for each in to_blame for name in each.what)
        rows = dict.fromkeys(row for each in to_blame for row in each.rows)
        but = [name for name in seen[0].but if all(name in each.but for each in seen)]
        told.append(BrokenStep(step, tuple(what), tuple(rows), tuple(but)))
    return told
