"""Small methods that keep the contract; :mod:`tests.testing.faulty_methods` breaks each of them in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distill_core.plugins.specs import Demands, MethodSpec, ModelFacts, Options, RoleNeed
from distill_core.protocols import Ask, Batch, Draw, Role, StagedLoss, ValidationRequest


class KitOptions(Options):
    """None."""


STUDENT = RoleNeed(trainable=True, operations=frozenset({"predict", "flow_shift", "unconditional"}))
TEACHER = RoleNeed(trainable=False, operations=frozenset({"predict"}))


def mse(one: Tensor, other: Tensor) -> Tensor:
    return ((one - other) ** 2).mean()


class Regression:
    """The student's x0 onto the teacher's."""

    def __init__(self, roles: Mapping[str, Role], options: KitOptions) -> None:
        self.roles = roles
        self.student, self.teacher, self.options = roles["student"], roles["teacher"], options

    def timesteps(self, draw: Draw) -> Tensor:
        return draw.uniform("timestep", 20.0, 980.0)

    def noise(self, batch: Batch, draw: Draw) -> Tensor:
        return draw.normal("noise", batch.latent_shape)

    def noisy(self, batch: Batch, draw: Draw) -> tuple[Tensor, Tensor]:
        t_B = self.timesteps(draw)
        return self.student.add_noise(batch.latents, self.noise(batch, draw), t_B), t_B

    def guess(self, role: Role, batch: Batch, noisy: Tensor, t_B: Tensor) -> Tensor:
        return role.predict_x0(noisy, t_B, batch.condition_of(role))

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        noisy, t_B = self.noisy(batch, draw)
        return mse(self.guess(self.student, batch, noisy, t_B), self.guess(self.teacher, batch, noisy, t_B))

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        yield StagedLoss("student", "regression", self.value(batch, draw))

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        return ("student",)

    def validation(self, step: int) -> ValidationRequest | None:
        return ValidationRequest("student", timesteps=(1000.0, 500.0), guidance_scale=1.0)


class TwoRoles(Regression):
    """The student on even steps, a critic of the student's samples always."""

    def __init__(self, roles: Mapping[str, Role], options: KitOptions) -> None:
        super().__init__(roles, options)
        self.critic = roles["critic"]

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        noisy, t_B = self.noisy(batch, draw)
        sample = self.guess(self.student, batch, noisy, t_B)
        if "student" in self.roles_to_step(draw.step):
            with torch.no_grad():
                aim = self.guess(self.teacher, batch, noisy, t_B) - self.guess(self.critic, batch, noisy, t_B)
            yield StagedLoss("student", "student_loss", mse(sample, (sample + aim).detach()))
        again = self.critic.add_noise(sample.detach(), self.noise(batch, draw.within("critic")), t_B)
        yield StagedLoss("critic", "critic_loss", mse(self.guess(self.critic, batch, again, t_B), sample.detach()))

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        return ("student", "critic") if step % 2 == 0 else ("critic",)


class Target(Regression):
    """The student onto its own averaged target, at a smaller timestep."""

    def __init__(self, roles: Mapping[str, Role], options: KitOptions) -> None:
        super().__init__({**roles, "teacher": roles["target"]}, options)

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        noisy, t_B = self.noisy(batch, draw)
        return mse(self.guess(self.student, batch, noisy, t_B), self.guess(self.teacher, batch, noisy, 0.5 * t_B))

    def keeps(self, step: int) -> Mapping[str, float]:
        return {"target": 0.5}


class Preferring(Regression):
    """Onto the ends of a teacher's trajectories that somebody liked, which the data hold."""

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        noisy, t_B = self.noisy(batch, draw)
        error_B = ((self.guess(self.student, batch, noisy, t_B) - batch.tensors["end"]) ** 2).flatten(1).mean(1)
        return (error_B * batch.tensors["liked"]).mean()


class Statistic(nn.Module):
    """A running mean, as a buffer."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))


def statistic(facts: Mapping[str, ModelFacts], options: KitOptions) -> nn.Module:
    return Statistic()


class Normalised(Regression):
    """The loss over its own running mean, which a role's buffer holds; rows are coupled by it."""

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        value = super().value(batch, draw)
        running = self.roles["statistic"].module
        assert isinstance(running, Statistic)
        running.mean.lerp_(value.detach(), 0.1)
        return value / running.mean.clone()


def head(facts: Mapping[str, ModelFacts], options: KitOptions) -> nn.Module:
    width = next(iter(facts.values())).feature_width
    return nn.Sequential(nn.Conv3d(width, 8, 1), nn.Dropout(0.5), nn.SiLU(), nn.Conv3d(8, 1, 1))


class Adversarial(Regression):
    """A head on the teacher's features tells the student's samples from the data."""

    def logits(self, batch: Batch, x: Tensor, draw: Draw, *, graph: bool) -> Tensor:
        t_B = draw.uniform("judged at", 100.0, 900.0)
        noisy = self.teacher.add_noise(x, draw.normal("judged with", batch.latent_shape), t_B)
        condition = batch.condition_of(self.teacher)
        answer = self.teacher.predict(noisy, t_B, condition, Ask(features=(0,)), input_gradients=graph)
        logits: Tensor = self.roles["head"].module(answer.features[0].transpose(1, 2))
        return logits

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        noisy, t_B = self.noisy(batch, draw)
        sample = self.guess(self.student, batch, noisy, t_B)
        yield StagedLoss("student", "fool", -self.logits(batch, sample, draw, graph=True).mean())
        fake = self.logits(batch, sample.detach(), draw, graph=False).relu().mean()
        yield StagedLoss("head", "tell", fake - self.logits(batch, batch.latents, draw, graph=False).mean())

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        return ("student", "head")


class Causal(Regression):
    """Timesteps of each frame, block-causal attention, and a memory of the frames before."""

    def timesteps(self, draw: Draw) -> Tensor:
        return draw.uniform("timestep", 20.0, 980.0, count=4)

    def guess(self, role: Role, batch: Batch, noisy: Tensor, t_B: Tensor) -> Tensor:
        return role.predict_x0(noisy, t_B, batch.condition_of(role), Ask(blocks=2, clean=batch.latents))

    def validation(self, step: int) -> ValidationRequest:
        return ValidationRequest("student", timesteps=(1000.0,), guidance_scale=1.0, blocks=2)


CAUSAL = frozenset({"predict", "frame_timesteps", "blocks", "clean", "stream"})
ROLES: Mapping[str, Mapping[str, RoleNeed]] = {
    "Regression": {"student": STUDENT, "teacher": TEACHER},
    "TwoRoles": {"student": STUDENT, "teacher": TEACHER, "critic": STUDENT},
    "Target": {"student": STUDENT, "target": RoleNeed(False, frozenset({"predict"}), follows="student")},
    "Normalised": {
        "student": STUDENT,
        "teacher": TEACHER,
        "statistic": RoleNeed(False, module="tests.testing.good_methods:statistic"),
    },
    "Adversarial": {
        "student": STUDENT,
        "teacher": RoleNeed(False, frozenset({"predict", "features"})),
        "head": RoleNeed(True, module="tests.testing.good_methods:head"),
    },
    "Causal": {"student": RoleNeed(True, CAUSAL), "teacher": RoleNeed(False, CAUSAL)},
}
"""What each of them needs of its roles."""


def spec_of(method: type, twin: type | None = None, **changes: Any) -> MethodSpec:
    """The spec of a method here, or of a faulty one that is its ``twin`` but for the fault."""
    fields: dict[str, Any] = {
        "name": method.__name__.lower(),
        "summary": "for tests of the kit",
        "options": KitOptions,
        "build": f"{method.__module__}:{method.__qualname__}",
        "roles": ROLES[(twin or method).__name__],
        "demands": lambda _: Demands(),
    }
    return MethodSpec(**{**fields, **changes})
