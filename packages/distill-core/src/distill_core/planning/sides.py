"""Which of two experts in parts any rank needs, prediction by prediction: heard where one process has the samples of all of them.

A rank computes with an expert wherever another one needs it (:mod:`distill_core.training.both_experts`). So a step of many samples is
played on one process first, and what it needs of them is written down. Timesteps that a method draws for each sample fall on both sides
then, as over many steps of many ranks; those that all samples share, on one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from distill_core.planning.subject import Subject
from distill_core.ranks.layout import Layout
from distill_core.ranks.ranks import Ranks
from distill_core.training.roles import RoleHandle

MANY = 32
"""Samples of a batch, at least: few enough to be held, so many that a side which one in ten is on is left out once in thirty."""


class HearingRanks(Ranks):
    """A process that takes part for all.

    Attributes:
        heard: what it answered to each question whether something is needed anywhere, in order.
    """

    def __init__(self) -> None:
        self.heard: list[list[bool]] = []

    @property
    def alone(self) -> bool:
        """It asks as one of several would."""
        return False

    def anywhere(self, flags: Sequence[bool]) -> list[bool]:
        """What it says itself, as all samples are its own."""
        self.heard.append(list(flags))
        return list(flags)


def of_one_process(subject: Subject) -> Subject:
    """The same run, many samples at a time, by a process that has its models whole."""
    config = subject.run.config
    batch = max(MANY, config.training.train_batch_size)
    training = config.training.model_copy(update={"train_batch_size": batch})
    run = replace(subject.run, config=config.model_copy(update={"training": training}))
    return replace(subject, run=run, layout=Layout())


def both_experts_in_parts(subject: Subject, roles: Mapping[str, RoleHandle]) -> bool:
    """Whether it matters."""
    return subject.layout.shard > 1 and any(role.boundary is not None for role in roles.values())
