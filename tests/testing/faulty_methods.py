"""Methods that break the contract, each in one place; what they share with the others is in :mod:`tests.testing.good_methods`."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from tests.testing.good_methods import Adversarial, Causal, KitOptions, Regression, Target, TwoRoles, mse
from torch import Tensor

from distill_core.protocols import Ask, Batch, Draw, Role, StagedLoss, ValidationRequest

# Losses and roles


class Misspelt(Regression):
    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        yield StagedLoss("studnet", "regression", self.value(batch, draw))


class TrainsTheFrozen(Regression):
    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        yield StagedLoss("teacher", "regression", self.value(batch, draw))


class WrongRole(TwoRoles):
    """The critic's loss is made of the student alone."""

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        for loss in super().losses(batch, draw):
            yield replace(loss, value=self.value(batch, draw)) if loss.role == "critic" else loss


class ZeroGradient(Regression):
    def value(self, batch: Batch, draw: Draw) -> Tensor:
        return super().value(batch, draw) * 0.0


class NoLoss(Regression):
    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        yield from ()


class BareTensor(Regression):
    def losses(self, batch: Batch, draw: Draw) -> Iterator[Any]:
        yield self.value(batch, draw)


class DueWithoutLoss(TwoRoles):
    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        yield from (loss for loss in super().losses(batch, draw) if loss.role == "critic")


class DoneAndAsked(TwoRoles):
    """A role that is done is asked once more, past what answers for it."""

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        due = "student" in self.roles_to_step(draw.step)
        for loss in super().losses(batch, draw):
            yield replace(loss, done=("student",)) if loss.role == "critic" else loss
        if due:
            weight = next(self.student.modules["denoiser"].parameters()).detach()
            noisy, t_B = self.noisy(batch, draw)
            yield StagedLoss("critic", "again", weight.norm() * mse(self.guess(self.critic, batch, noisy, t_B), noisy))


class DoneInTheGraph(TwoRoles):
    """The critic's loss has a path to the student, which it says is done."""

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        for loss in super().losses(batch, draw):
            if loss.role == "critic" and "student" in self.roles_to_step(draw.step):
                yield replace(loss, value=loss.value + self.value(batch, draw), done=("student",))
            else:
                yield loss


class NotDue(TwoRoles):
    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        yield StagedLoss("student", "student_loss", self.value(batch, draw))
        yield from super().losses(batch, draw)


class PerRow(Regression):
    def value(self, batch: Batch, draw: Draw) -> Tensor:
        noisy, t_B = self.noisy(batch, draw)
        error = self.guess(self.student, batch, noisy, t_B) - self.guess(self.teacher, batch, noisy, t_B)
        return (error**2).flatten(1).mean(1)


class NoGraph(Regression):
    @torch.no_grad()
    def value(self, batch: Batch, draw: Draw) -> Tensor:
        return super().value(batch, draw)


class NotFinite(Regression):
    def value(self, batch: Batch, draw: Draw) -> Tensor:
        value = super().value(batch, draw)
        return value + (value.detach() * 0.0).log()


class RootAtZero(Regression):
    """A distance to itself: the norm has no gradient at 0."""

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        noisy, t_B = self.noisy(batch, draw)
        guess = self.guess(self.student, batch, noisy, t_B)
        return ((guess - guess.detach()) ** 2).sum().sqrt() + super().value(batch, draw)


class MetricWithGraph(Regression):
    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        value = self.value(batch, draw)
        yield StagedLoss("student", "regression", value, {"error": value.sqrt()})


class MetricOfTheHost(Regression):
    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        value = self.value(batch, draw)
        metrics: Any = {"error": value.item()}
        yield StagedLoss("student", "regression", value, metrics)


class BothGraphs(TwoRoles):
    """Makes every loss before it yields the first."""

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        yield from list(super().losses(batch, draw))


class KeepsItsGraph(Regression):
    """Holds on to a loss that it did not need."""

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        self.last = self.value(batch, draw)
        yield StagedLoss("student", "regression", self.value(batch, draw))


class WritesIntoTheData(Regression):
    def noisy(self, batch: Batch, draw: Draw) -> tuple[Tensor, Tensor]:
        batch.latents.clamp_(-1.0, 1.0)
        return super().noisy(batch, draw)


# Cadence, followers, validation


class AString(Regression):
    def roles_to_step(self, step: int) -> Any:
        return "student"


class StepsTwice(Regression):
    def roles_to_step(self, step: int) -> tuple[str, ...]:
        return ("student", "student")


class CountsCalls(TwoRoles):
    """A cadence by the number of calls."""

    calls = 0

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        self.calls += 1
        return ("student", "critic") if self.calls > 5 else ("critic",)


class KeepsTooMuch(Target):
    def keeps(self, step: int) -> Mapping[str, float]:
        return {"target": 1.5}


class KeepsByCalls(Target):
    """A share that decays with every call."""

    share = 1.0

    def keeps(self, step: int) -> Mapping[str, float]:
        self.share *= 0.9
        return {"target": self.share}


class SaysNotWhatItKeeps(Regression):
    """Has a follower, and no keeps."""

    def __init__(self, roles: Mapping[str, Role], options: KitOptions) -> None:
        super().__init__({**roles, "teacher": roles["target"]}, options)

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        noisy, t_B = self.noisy(batch, draw)
        return mse(self.guess(self.student, batch, noisy, t_B), self.guess(self.teacher, batch, noisy, 0.5 * t_B))


class ValidatesNobody(Regression):
    def validation(self, step: int) -> ValidationRequest:
        return ValidationRequest("generator")


class ValidatesAHead(Adversarial):
    def validation(self, step: int) -> ValidationRequest:
        return ValidationRequest("head")


class ValidatesUphill(Regression):
    def validation(self, step: int) -> ValidationRequest:
        return ValidationRequest("student", timesteps=(500.0, 1000.0))


class ValidatesBlocks(Regression):
    def validation(self, step: int) -> ValidationRequest:
        return ValidationRequest("student", blocks=2)


class ValidatesSparsely(Regression):
    def validation(self, step: int) -> ValidationRequest:
        return ValidationRequest("student", attn_kind="vsa")


class ValidatesADict(Regression):
    def validation(self, step: int) -> Any:
        return {"role": "student"}


class ValidatesNothing(Regression):
    def validation(self, step: int) -> None:
        return None


# What is asked of roles


class Undeclared(Regression):
    def guess(self, role: Role, batch: Batch, noisy: Tensor, t_B: Tensor) -> Tensor:
        return role.predict(noisy, t_B, batch.condition_of(role), Ask(features=(0,))).velocity


class Sparse(Regression):
    def guess(self, role: Role, batch: Batch, noisy: Tensor, t_B: Tensor) -> Tensor:
        return role.predict_x0(noisy, t_B, batch.condition_of(role), Ask("vsa"))


class Depth(Regression):
    """Asks an operation of one family's own."""

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        depth: Any = self.teacher.extension("acme.depth")(batch.latents)
        return super().value(batch, draw) + depth


class Averaged(Regression):
    def value(self, batch: Batch, draw: Draw) -> Tensor:
        noisy, t_B = self.noisy(batch, draw)
        with torch.no_grad(), self.student.averaged():
            aim = self.guess(self.student, batch, noisy, t_B)
        return mse(self.guess(self.student, batch, noisy, t_B), aim + 1.0)


class AnotherFamilysCondition(Regression):
    def guess(self, role: Role, batch: Batch, noisy: Tensor, t_B: Tensor) -> Tensor:
        return role.predict_x0(noisy, t_B, batch.condition_of(self.student))


class Float32Timesteps(Regression):
    def timesteps(self, draw: Draw) -> Tensor:
        return super().timesteps(draw).float()


class SigmasForTimesteps(Regression):
    """Thousandths of a thousandth."""

    def timesteps(self, draw: Draw) -> Tensor:
        return super().timesteps(draw) * 1000.0


class LaterSecondTime(Causal):
    def guess(self, role: Role, batch: Batch, noisy: Tensor, t_B: Tensor) -> Tensor:
        return role.predict_x0(noisy, t_B, batch.condition_of(role), Ask(until=t_B + 1.0))


# Randomness and rows


class GlobalNoise(Regression):
    def noise(self, batch: Batch, draw: Draw) -> Tensor:
        return torch.randn(batch.size, *batch.latent_shape)


class PythonsRandom(Regression):
    def value(self, batch: Batch, draw: Draw) -> Tensor:
        return super().value(batch, draw) * (1.0 + random.random())


class OwnGenerator(Regression):
    """A generator that nobody seeds by a key."""

    def noise(self, batch: Batch, draw: Draw) -> Tensor:
        generator = torch.Generator()
        generator.manual_seed(time.perf_counter_ns() % 2**31)
        return torch.randn(batch.size, *batch.latent_shape, generator=generator)


class OneNoiseForAll(Regression):
    """The first row's noise for the whole batch."""

    def noise(self, batch: Batch, draw: Draw) -> Tensor:
        return super().noise(batch, draw)[:1].expand(batch.size, -1, -1, -1, -1)


class DeviationOverTheBatch(Regression):
    """Over the deviation between rows, which one row does not have."""

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        noisy, t_B = self.noisy(batch, draw)
        guess = self.guess(self.student, batch, noisy, t_B)
        return mse(guess, self.guess(self.teacher, batch, noisy, t_B)) / guess.detach().flatten(1).mean(1).std()


class SumsOverTheBatch(Regression):
    def value(self, batch: Batch, draw: Draw) -> Tensor:
        return super().value(batch, draw) * batch.size


class NormalisesOverTheBatch(Regression):
    """Over the mean error of the batch."""

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        noisy, t_B = self.noisy(batch, draw)
        error = self.guess(self.student, batch, noisy, t_B) - self.guess(self.teacher, batch, noisy, t_B)
        return (error**2).mean() / error.detach().abs().mean()


class LogsARootOverTheBatch(Regression):
    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        (loss,) = super().losses(batch, draw)
        yield replace(loss, metrics={"root": loss.value.detach().sqrt()})
