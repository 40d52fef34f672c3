"""One micro-step's losses and gradients, asked for at a given state, on given rows, as often as a rule likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill_core.randomness import key_bits
from distill_core.testing.methods.bench import SEED, Snapshot, ToyRun
from distill_core.training.gradients import untouched

ROWS = (0, 1, 2)
"""The rows of the data that questions are about."""


@dataclass(frozen=True)
class Answer:
    """The losses of one micro-step, and the gradients that they give to the roles that they name, in float64.

    Attributes:
        names: of the losses, in their order.
        losses: one number each.
        gradients: of all trained weights, flattened.
        logged: the further figures of the losses, by name.
    """

    names: tuple[str, ...]
    losses: Tensor
    gradients: Tensor
    logged: Mapping[str, Tensor]

    def close(self, other: Answer, within: float = 1e-3) -> bool:
        """Whether two answers differ by no more than the order of a sum explains."""
        if self.names != other.names:
            return False
        pairs = ((self.losses, other.losses), (self.gradients, other.gradients))
        return all(bool((mine - theirs).norm() <= within * mine.norm() + 1e-7) for mine, theirs in pairs)

    def logged_apart(self, other: Answer, within: float = 1e-3) -> tuple[str, ...]:
        """The further figures that differ by more than the order of a sum explains, or that one of the answers lacks."""
        shared = self.logged.keys() & other.logged.keys()
        close = {
            name
            for name in shared
            if torch.allclose(self.logged[name], other.logged[name], within, 1e-7, equal_nan=True)
        }
        return tuple(sorted((self.logged.keys() | other.logged.keys()) - close))

    def same(self, other: Answer) -> bool:
        """Whether two answers are bitwise equal."""
        return (
            self.names == other.names
            and torch.equal(self.losses, other.losses)
            and torch.equal(self.gradients, other.gradients)
        )

    def figures(self) -> str:
        """The losses, for a message."""
        return ", ".join(f"{name} {value:.6g}" for name, value in zip(self.names, self.losses.tolist(), strict=True))


def ask(run: ToyRun, at: Snapshot, step: int, rows: Sequence[int], keys: Sequence[int] | None = None) -> Answer:
    """What a run at a state answers for rows of the data, whose draws have ``keys``; its gradients are cleared afterwards."""
    run.load(at)
    names, values = [], []
    logged: dict[str, Tensor] = {}
    parameters = {name: role.trained_parameters() for name, role in run.roles.items() if role.trainable}
    torch.default_generator.manual_seed(key_bits(SEED, step, 0, "global"))  # as the trainer does before each micro-step
    for loss in run.method.losses(run.batch(rows), run.draw(step, rows if keys is None else keys)):
        others = [p for name, own in parameters.items() if name not in loss.roles for p in own.values()]
        with untouched(others):
            loss.value.backward()
        names.append(loss.name)
        values.append(loss.value.detach().double().reshape(()))
        logged |= {name: value.detach().double().reshape(()) for name, value in loss.metrics.items()}
    gradients = [
        (torch.zeros_like(p) if p.grad is None else p.grad).double().flatten()
        for own in parameters.values()
        for p in own.values()
    ]
    for role in run.roles.values():
        role.container.zero_grad(set_to_none=True)
    return Answer(tuple(names), torch.stack(values), torch.cat(gradients), logged)


def mean_of(answers: Sequence[Answer]) -> Answer:
    """The mean over micro-batches, as gradient accumulation takes it."""
    return Answer(
        answers[0].names,
        torch.stack([answer.losses for answer in answers]).mean(0),
        torch.stack([answer.gradients for answer in answers]).mean(0),
        {name: torch.stack([answer.logged[name] for answer in answers]).mean(0) for name in answers[0].logged},
    )
