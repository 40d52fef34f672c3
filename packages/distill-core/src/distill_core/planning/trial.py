"""A run's own steps, played once each under the ledger: with the trainer's, the method's and the family's real code.

Nothing is saved, logged or written. In a hollow world this costs neither memory nor much time; outside of one it is the real thing, and
measures what is told beforehand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

from distill_core.planning.hollow import hollow_world
from distill_core.planning.ledger import Ledger, Owner, Phase
from distill_core.planning.made_up_rows import MadeUpRows
from distill_core.planning.sides import HearingRanks, both_experts_in_parts, of_one_process
from distill_core.planning.stage import FEW, UPDATE, Stage
from distill_core.planning.subject import Subject
from distill_core.plugins.loading import load_target

LOOKED_AHEAD = 1000
"""Training steps among which those are looked for that step other roles."""

Say = Callable[[str], None]
"""Shows what is being done."""


@dataclass(frozen=True)
class Played:
    """One kind of step, or the validation.

    Attributes:
        name: of it.
        share: of all training steps, those that are like it; 0 for what is none.
        phases: what was done, in order.
        repeats: how often its phases, but for the update, come in the run for once here.
    """

    name: str
    share: float
    phases: tuple[Phase, ...]
    repeats: float = 1.0

    @property
    def peak(self) -> Phase:
        """The phase with the most memory."""
        return max(self.phases, key=lambda phase: phase.peak)

    @property
    def flops(self) -> float:
        """Of the whole, as often as it comes."""
        return sum(phase.work.flops * self._times(phase) for phase in self.phases)

    @property
    def traffic(self) -> float:
        """Bytes of the whole, likewise."""
        return sum(phase.work.traffic * self._times(phase) for phase in self.phases)

    @property
    def sent(self) -> dict[str, float]:
        """Bytes from other ranks, by role, likewise."""
        names = dict.fromkeys(name for phase in self.phases for name in phase.sent)
        return {name: sum(phase.sent[name] * self._times(phase) for phase in self.phases) for name in names}

    def _times(self, phase: Phase) -> float:
        return 1.0 if phase.name == UPDATE else self.repeats


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes:
        at_rest: bytes of each owner between two steps.
        played: the kinds of steps, and the validation if the run has one.
        checkpoint: bytes of a checkpoint's tensors.
        snapshot: bytes of host memory for this rank's copy of it; 0 where a checkpoint is written while training waits.
        parameters: how many parameters each role has, and how many of them are trained.
    """

    at_rest: Mapping[Owner, int]
    played: tuple[Played, ...]
    checkpoint: int
    snapshot: int
    parameters: Mapping[str, tuple[int, int]]

    @property
    def peak(self) -> Phase:
        """The phase with the most memory of all."""
        return max((played.peak for played in self.played), key=lambda phase: phase.peak)


def play(subject: Subject, say: Say, *, hollow: bool = True) -> Trial:
    """Play every kind of step of a run once, and a sample of its validation. ``hollow``: without weights; else with those of its folders.

    Raises DistillError for what cannot be made, PlanError for what cannot be told without numbers.
    """
    with _made(subject, say, hollow=hollow) as stage:
        if not both_experts_in_parts(subject, stage.roles):
            return _played(stage, say)
    say("its two experts lie in parts: it is played by one process first, to hear which of them GPUs need at a time")
    heard = _heard(subject, say, hollow=hollow)
    with _made(subject, say, heard, hollow=hollow) as stage:
        return _played(stage, say)


@contextmanager
def _made(
    subject: Subject, say: Say, heard: Sequence[Sequence[bool]] | None = None, *, hollow: bool
) -> Iterator[Stage]:
    """A stage, and the world that it is played in."""
    # What a library makes while it is first imported is none of the run's.
    for model in subject.run.models.values():
        load_target(model.build, f"model {model.name!r}")
    rows = MadeUpRows(subject, FEW * subject.run.config.training.train_batch_size)
    ledger = Ledger(on_card=subject.on_card)
    with ExitStack() as worlds:
        worlds.enter_context(hollow_world() if hollow else nullcontext())
        worlds.enter_context(ledger)
        say("making the models")
        stage = Stage(subject, rows, ledger, hollow=hollow, heard=heard)
        worlds.callback(stage.close)
        yield stage


def _played(stage: Stage, say: Say) -> Trial:
    before = [Played("before training", 0.0, begun)] if (begun := _before(stage)) else []
    played = [_step(stage, step, share, say) for step, share in _kinds(stage)]
    at_rest = dict(stage.ledger.owned)
    sampled = _sampling(stage, say)
    snapshot = stage.snapshot() if stage.run.config.checkpoint.mode == "async" else 0
    return Trial(at_rest, (*before, *played, *sampled), stage.checkpoint(), snapshot, stage.parameters())


def _heard(subject: Subject, say: Say, *, hollow: bool) -> list[list[bool]]:
    """What is needed anywhere, in the order in which the same steps ask it."""
    ranks = HearingRanks()
    with _made(of_one_process(subject), say, hollow=hollow) as stage:
        for role in stage.roles.values():
            role.among = ranks
        for step, share in _kinds(stage):
            _step(stage, step, share, say)
        _sampling(stage, say)
    return ranks.heard


def _before(stage: Stage) -> tuple[Phase, ...]:
    """What takes memory before the first step: captions, and models that are whole before they lie in parts."""
    loading = (stage.loading,) if stage.subject.layout.shard > 1 else ()
    return ((stage.captions,) if stage.captions.peak else ()) + loading


def _kinds(stage: Stage) -> list[tuple[int, float]]:
    """The first step of each kind, by who steps at its end, and the share of the steps that are like it."""
    steps = range(1, min(stage.run.config.training.max_train_steps, LOOKED_AHEAD) + 1)
    due = {step: stage.method.roles_to_step(step) for step in steps}
    counts = Counter(due.values())
    first = {roles: step for step, roles in reversed(due.items())}
    return sorted((step, counts[roles] / len(due)) for roles, step in first.items())


def _step(stage: Stage, step: int, share: float, say: Say) -> Played:
    due = " + ".join(stage.method.roles_to_step(step))
    say(f"playing a step of {due}")
    accumulation = stage.run.config.training.gradient_accumulation_steps
    return Played(f"step of {due}", share, stage.step(step), accumulation / min(FEW, accumulation))


def _sampling(stage: Stage, say: Say) -> list[Played]:
    """The first sample of the first validation; none for a run without one."""
    request = stage.sampling()
    if request is None:
        return []
    say("playing a validation")
    played, steps = stage.sample(request)
    return [Played("validation", 0.0, played, steps)]
