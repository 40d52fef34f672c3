"""What a trial says of a run: what each role holds, the most memory that each phase takes, and on which card it fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from distill_core.planning.cards import Card
from distill_core.planning.ledger import NOBODY, Owner, Phase
from distill_core.planning.stage import LOADING
from distill_core.planning.subject import Subject
from distill_core.planning.trial import Played, Trial


@dataclass(frozen=True)
class Held:
    """What one role, or what is lent to all, holds, in bytes; at most, where it comes and goes.

    Attributes:
        name: of the role.
        parameters: how many it has.
        trained: how many of them are trained.
        weights: of weights and buffers.
        gradients: of gradients.
        optimizer: of the optimizer's state.
        average: of the averaged weights.
    """

    name: str
    parameters: int
    trained: int
    weights: int
    gradients: int
    optimizer: int
    average: int


@dataclass(frozen=True)
class Stretch:
    """A phase of a kind of step, the longest of its repetitions.

    Attributes:
        of: the kind of step, or the validation.
        name: of the phase.
        peak: the most bytes at once.
        held: bytes that roles held at that moment, and what encodes.
        activations: bytes kept for backward, or of a forward pass that is going on.
        workspace: bytes that come and go on top.
    """

    of: str
    name: str
    peak: int
    held: int
    activations: int
    workspace: int


@dataclass(frozen=True)
class Verdict:
    """How a run does on a card.

    Attributes:
        card: the card.
        fits: whether its peak fits.
        spare: bytes that are left; below 0, that are missing.
        seconds: of a training step, on average; an estimate, without what GPUs send each other.
        sending: seconds of that, if it were all that is done, within one machine; 0 for one GPU.
    """

    card: Card
    fits: bool
    spare: int
    seconds: float
    sending: float


@dataclass(frozen=True)
class Plan:
    """What a run needs.

    Attributes:
        subject: the run.
        trial: what came of playing it.
    """

    subject: Subject
    trial: Trial

    @property
    def peak(self) -> int:
        """The most bytes at once."""
        return self.trial.peak.peak

    @property
    def held(self) -> list[Held]:
        """By role; what encodes and decodes last."""
        most = self._most()
        names = dict.fromkeys([*self.trial.parameters, *(name for name, _ in most if name)])
        return [_held(name, self.trial.parameters.get(name, (0, 0)), most) for name in names]

    def _most(self) -> Mapping[Owner, int]:
        """The most that each owner held at any peak, or between two steps."""
        most = dict(self.trial.at_rest)
        for played in self.trial.played:
            for phase in (
                each for each in played.phases if each.name != LOADING
            ):  # there they are whole, and nobody's yet
                for owner, size in phase.owned.items():
                    most[owner] = max(size, most.get(owner, 0))
        return most

    @property
    def stretches(self) -> list[Stretch]:
        """Every phase in order, its repetitions as one."""
        return [stretch for played in self.trial.played for stretch in _stretches(played)]

    @property
    def flops(self) -> float:
        """Of a training step, on average."""
        return sum(played.share * played.flops for played in self.trial.played)

    @property
    def traffic(self) -> float:
        """Bytes that a training step moves beside its products, on average."""
        return sum(played.share * played.traffic for played in self.trial.played)

    @property
    def sent(self) -> dict[str, float]:
        """Bytes that a GPU gets from others, and as many that it gives, in a training step, on average, by role."""
        names = dict.fromkeys(name for played in self.trial.played for name in played.sent if played.share)
        return {name: sum(each.share * each.sent.get(name, 0.0) for each in self.trial.played) for name in names}

    def on(self, card: Card) -> Verdict:
        """The run on a card."""
        spare = card.usable - self.peak
        sending = card.sending(sum(self.sent.values()))
        return Verdict(card, spare >= 0, spare, card.seconds(self.flops, self.traffic), sending)


def _held(name: str, parameters: tuple[int, int], most: Mapping[Owner, int]) -> Held:
    kinds = ("weights", "gradients", "optimizer", "average")
    return Held(name, *parameters, *(most.get((name, kind), 0) for kind in kinds))


def _stretches(played: Played) -> Iterator[Stretch]:
    largest: dict[str, Phase] = {}
    for phase in played.phases:
        if phase.name not in largest or phase.peak > largest[phase.name].peak:
            largest[phase.name] = phase
    for phase in largest.values():
        loose = phase.peak - sum(size for owner, size in phase.owned.items() if owner != NOBODY)
        kept = min(loose, phase.before if phase.name.endswith("backward") else phase.after)
        yield Stretch(played.name, phase.name, phase.peak, phase.peak - loose, kept, loose - kept)


def as_json(plan: Plan, verdicts: list[Verdict]) -> dict[str, Any]:
    """A plan as plain data; sizes in bytes."""
    run, data = plan.subject.run, plan.subject.data
    training = run.config.training
    return {
        "method": run.method.name,
        "families": sorted(run.models),
        "precision": plan.subject.placement.settings()["precision"],
        "latent_shape": list(plan.subject.latent_shape),
        "batch": [training.train_batch_size, training.gradient_accumulation_steps],
        "peak": plan.peak,
        "roles": [vars(held) for held in plan.held],
        "phases": [vars(stretch) for stretch in plan.stretches],
        "checkpoint": plan.trial.checkpoint,
        "host_snapshot": plan.trial.snapshot,
        "sent_per_step": plan.sent,
        "flops_per_step": plan.flops,
        "data": {"rows": data.rows, "row_bytes": data.row_bytes},
        "cards": [
            {
                "gpu": verdict.card.name,
                "example": verdict.card.example,
                "usable": verdict.card.usable,
                "fits": verdict.fits,
                "spare": verdict.spare,
                "seconds_per_step": verdict.seconds,
                "seconds_sending": verdict.sending,
            }
            for verdict in verdicts
        ],
    }
