"""What makes a run smaller, the cheapest first, each as the keys to add; how many of them it takes to fit a card, or how many cards.

A change is kept if the run, played with it, takes less, and left out again if what came after it is enough; so nothing here is a formula
of any method's or family's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_core.config.schema import LIBRARIES, RunConfig
from distill_core.errors import DistillError
from distill_core.planning.cards import GIB, Card
from distill_core.planning.plan import Plan
from distill_core.planning.subject import Subject, subject_of
from distill_core.planning.trial import Say, play
from distill_core.plugins.index import PluginIndex

_LESS = 0.99
"""A change that leaves more than this share of the peak is not worth its price."""
MOST_GPUS = 64
"""As many GPUs are tried at most."""
_SHORTEST = 2
"""Latent frames of which a run is still one of videos."""


@dataclass(frozen=True)
class Change:
    """Something to add to a run.

    Attributes:
        overrides: the keys, as ``KEY=VALUE``.
        price: what it costs, for a person.
        same: whether it trains the same.
        gpus: how many GPUs it takes; None: as many as before.
    """

    overrides: tuple[str, ...]
    price: str
    same: bool = True
    gpus: int | None = None

    @property
    def keys(self) -> frozenset[str]:
        """The keys alone."""
        return frozenset(override.partition("=")[0] for override in self.overrides)

    def replaces(self, other: Change) -> bool:
        """Whether nothing is left of another change beside this one: each of its keys is set here, or all of the section that it is in."""
        return all(any(f"{theirs}.".startswith(f"{mine}.") for mine in self.keys) for theirs in other.keys)


@dataclass(frozen=True)
class Kept:
    """A change that a run is the smaller for, and the plan with it and those before it."""

    change: Change
    plan: Plan


@dataclass(frozen=True)
class Planner:
    """Plans a run.yaml. To be called where all is weightless.

    Attributes:
        path: of it.
        overrides: of its keys.
        index: the plugins.
        say: shows what is being done.
        count: on how many cards.
    """

    path: Path
    overrides: Sequence[str]
    index: PluginIndex
    say: Say
    count: int = 1

    def __call__(self, more: Sequence[str], gpus: int | None = None) -> Plan:
        """With further overrides, on another number of GPUs. Raises DistillError for what cannot be planned."""
        subject = self._subject(more, gpus)
        before = f"{' '.join(more)}: " if more else ""
        return Plan(subject, play(subject, lambda doing: self.say(f"{before}{doing}")))

    def takes(self, more: Sequence[str], gpus: int | None = None) -> bool:
        """Whether that is a run at all."""
        try:
            self._subject(more, gpus)
        except DistillError:
            return False
        return True

    def _subject(self, more: Sequence[str], gpus: int | None) -> Subject:
        ranks = self.count if gpus is None else gpus
        return subject_of(self.path, [*self.overrides, *more], self.index, on_card=True, ranks=ranks)


def fitting(plan: Plan, card: Card, make: Planner, say: Say) -> list[Kept]:
    """The cheapest changes after which a run fits a card; or all that help, where it does not fit with all of them."""
    kept: list[Kept] = []
    for change in changes(plan.subject):
        if plan.on(card).fits:
            break
        say(f"trying {' '.join(change.overrides)}")
        try:
            smaller = make([*_overrides(kept), *change.overrides])
        except DistillError:  # not for this family, or not beside what is kept already
            continue
        if smaller.peak < _LESS * plan.peak:
            plan = smaller
            kept = [*(each for each in kept if not change.replaces(each.change)), Kept(change, plan)]
    return _needed(kept, card, make, say) if plan.on(card).fits else kept


def _overrides(kept: Sequence[Kept]) -> list[str]:
    return [override for each in kept for override in each.change.overrides]


def _needed(kept: Sequence[Kept], card: Card, make: Planner, say: Say) -> list[Kept]:
    """Those without which a run does not fit: what a later change alone is enough for is left out, the dearest first."""
    needed, last = list(kept), kept[-1] if kept else None
    for extra in reversed(kept[:-1]):
        place = [each.change for each in needed].index(extra.change)
        fewer = [*needed[:place], *needed[place + 1 :]]
        if not all(make.takes(_overrides(fewer[: count + 1])) for count in range(place, len(fewer))):
            continue  # what came later needs it
        say(f"trying without {' '.join(extra.change.overrides)}")
        try:
            whole = make(_overrides(fewer))
        except DistillError:  # likewise
            continue
        if whole.on(card).fits:
            needed, last = fewer, Kept(fewer[-1].change, whole)
    try:
        return [*_again(kept, needed[:-1], make), *([] if last is None else [last])]
    except DistillError:  # all together can be played, some of them cannot
        return list(kept)


def _again(kept: Sequence[Kept], needed: Sequence[Kept], make: Planner) -> list[Kept]:
    """Changes in the order in which they were played: those that were played beside one that is left out now, played without it."""
    played: list[Kept] = []
    for place, each in enumerate(needed):
        whole = each.plan if each is kept[place] else make(_overrides([*played, each]))
        played.append(Kept(each.change, whole))
    return played


def on_more_gpus(plan: Plan, kept: Sequence[Kept], card: Card, make: Planner, say: Say) -> Kept | str:
    """The fewest GPUs that a run fits on with no change but those of ``kept`` that train the same and go with so many; or why there is
    no such number.
    """
    training, gpus = plan.subject.run.config.training, 2 * plan.subject.ranks
    asked = training.train_batch_size * training.gradient_accumulation_steps
    smallest = plan
    while gpus <= MOST_GPUS:
        groups = gpus // plan.subject.layout.context
        parts = -(-asked // groups)
        batch = (f"training.train_batch_size={groups}", f"training.gradient_accumulation_steps={parts}")
        price = "the same batch" if groups * parts == asked else f"{groups * parts} samples a step instead of {asked}"
        change = Change(batch, price, gpus=gpus)
        same = [
            override
            for each in kept
            if each.change.same
            and not change.replaces(each.change)
            and make.takes([*each.change.overrides, *batch], gpus)
            for override in each.change.overrides
        ]
        say(f"trying {gpus} GPUs")
        try:
            smallest = make([*same, *batch], gpus)
        except DistillError as error:
            return str(error)
        if smallest.on(card).fits:
            return Kept(Change((*same, *batch), price, gpus=gpus), smallest)
        gpus *= 2
    return f"{MOST_GPUS} GPUs are not enough: each would need {smallest.peak / GIB:.1f} GiB"


def changes(subject: Subject) -> Iterator[Change]:
    """What could be changed, the cheapest first."""
    yield from _same_training(subject)
    yield from _other_training(subject)


def _same_training(subject: Subject) -> Iterator[Change]:
    """What trains the same, if more slowly."""
    run, training = subject.run, subject.run.config.training
    size, steps = training.train_batch_size, training.gradient_accumulation_steps
    if size > subject.groups:
        parts = size // subject.groups * steps
        split = (f"training.train_batch_size={subject.groups}", f"training.gradient_accumulation_steps={parts}")
        yield Change(split, "the same batch, one sample at a time")
    for name, need in run.needs.items():
        if not need.trainable and need.module is None and run.config.roles[name].weights == "fp32":
            yield Change((f"roles.{name}.weights=bf16",), "frozen weights are rounded")
    if training.enable_gradient_checkpointing_type is None:
        yield Change(
            ("training.enable_gradient_checkpointing_type=selective",), "all of a forward pass again but for attention"
        )
    if training.enable_gradient_checkpointing_type != "full" or training.recompute_every > 1:
        every = () if training.recompute_every == 1 else ("training.recompute_every=1",)
        yield Change(("training.enable_gradient_checkpointing_type=full", *every), "about a third more time")
    kept = [name for name, role in run.config.roles.items() if role.recompute in ("none", "selective")]
    if kept:
        yield Change(tuple(f"roles.{name}.recompute=full" for name in kept), "about a third more time for these")
    trained = [name for name, need in run.needs.items() if need.trainable]
    if training.step_roles == "together" and steps == 1 and len(trained) > 1:
        yield Change(("training.step_roles=alone",), "each role steps once its last loss is over")
    stay = [name for name in _models(subject) if _could_leave(run.config, name)]
    if stay:
        yield Change(_streamed(stay), "frozen weights come over the bus for each pass")
    averaged = [
        name for name, role in run.config.roles.items() if role.ema is not None and role.ema.placement == "device"
    ]
    if averaged:
        yield Change(
            tuple(f"roles.{name}.ema.placement=cpu" for name in averaged), "averages come over the bus for each update"
        )
    if run.config.validation.interval is not None:
        yield Change(("validation.interval=null",), "no samples while it trains")
    pairs = subject.ranks // 2
    if pairs and subject.ranks == 2 * pairs and subject.layout.context == 1 and size * steps % pairs == 0:
        batch = (f"training.train_batch_size={pairs}", f"training.gradient_accumulation_steps={size * steps // pairs}")
        yield Change(
            ("distributed.context=2", *batch), "two GPUs share each clip: the same batch, with exchanges in every layer"
        )


def _models(subject: Subject) -> list[str]:
    """Roles with weights of their own files."""
    return [name for name, need in subject.run.needs.items() if not need.sourceless]


def _streamed(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"roles.{name}.placement=stream" for name in names)


def _could_leave(config: RunConfig, name: str) -> bool:
    """Whether a role's weights are frozen ones on the device that could live in host memory."""
    role = config.roles[name]
    frozen = not role.trainable or role.lora is not None
    return frozen and role.placement == "device" and role.weights not in LIBRARIES and not config.compiles(name)


def _other_training(subject: Subject) -> Iterator[Change]:
    """What trains something else, or on something else."""
    run = subject.run
    trained = [name for name, need in run.needs.items() if need.trainable and need.module is None]
    averaged = [name for name in trained if run.config.roles[name].ema is not None]
    full = [name for name in trained if run.config.roles[name].lora is None]
    if full:
        yield Change(
            tuple(f"roles.{name}.lora.rank=64" for name in full), "LoRAs are trained, not all weights", same=False
        )
        bases = [name for name in _models(subject) if name in full or _could_leave(run.config, name)]
        yield Change(_streamed(bases), "the frozen weights below LoRAs come over the bus for each pass too", same=False)
    if averaged:
        yield Change(tuple(f"roles.{name}.ema=null" for name in averaged), "no averaged weights", same=False)
    frames = subject.latent_shape[0]
    while frames > _SHORTEST:
        frames = (frames + 1) // 2
        pixels = run.facts[run.lead].latent_space.whole_frames_of(frames)
        known = "num_latent_t" if run.config.data.num_frames is None else "num_frames"
        length = frames if known == "num_latent_t" else pixels
        yield Change((f"data.{known}={length}",), f"clips of {pixels} frames", same=False)
