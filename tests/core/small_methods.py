"""A method whose roles are of every kind: a model, a follower of it, a module of its own; and faulty ones, made from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distill_core.plugins import Demands, MethodSpec, Options, RoleNeed
from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest

KEEPS = 0.75


class SmallOptions(Options):
    """What the tests vary."""

    head: bool = True
    every: int = 1
    """Steps per update of the student."""
    leak: bool = False
    """Whether the head's loss has a path to the student."""


class Head(nn.Module):
    """A weight per hidden feature of the student, and a running mean of what it says."""

    def __init__(self, facts: Mapping[str, Any], options: SmallOptions) -> None:
        super().__init__()
        self.weight = nn.Linear(facts["student"].feature_width, 1)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, features_BTDHW: Tensor) -> Tensor:
        """A number per sample; the running mean takes it in."""
        said: Tensor = self.weight(features_BTDHW.movedim(2, -1)).flatten(1).mean(1)
        with torch.no_grad():
            self.mean.lerp_(said.mean(), 0.5)
        return said


class Small(Method):
    """The student regresses onto its own average; a head tells noise levels by the student's features."""

    def __init__(self, roles: Mapping[str, Role], options: SmallOptions) -> None:
        self.roles, self.options = roles, options
        self.student, self.target = roles["student"], roles["target"]

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The student's, then the head's."""
        due, condition = self.roles_to_step(draw.step), batch.condition_of(self.student)
        t_B = draw.uniform("t", 100.0, 900.0)
        noisy = self.student.add_noise(batch.latents, draw.normal_like("noise", batch.latents), t_B)
        if "student" in due:
            aim = self.target.predict_x0(noisy, t_B, condition)
            guess = self.student.predict_x0(noisy, t_B, condition)
            yield StagedLoss("student", "regression", ((guess - aim - 0.1 * batch.latents) ** 2).mean())
        if "head" in due:
            with torch.set_grad_enabled(self.options.leak):
                (features,) = self.student.predict(noisy, t_B, condition, Ask(features=(0,))).features
            said = self.roles["head"].module(features)
            yield StagedLoss("head", "levels", ((said - t_B.to(said) / 1000.0) ** 2).mean())

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The head always, the student every so many steps."""
        others = ("head",) if self.options.head else ()
        return ("student", *others) if step % self.options.every == 0 else others

    def keeps(self, step: int) -> Mapping[str, float]:
        """Three quarters."""
        return {"target": KEEPS}

    def validation(self, step: int) -> ValidationRequest | None:
        """The student in one step."""
        return ValidationRequest("student", "sde", timesteps=(1000.0,), guidance_scale=1.0)


class Faulty(Small):
    """What each of these faults changes is said by its name."""

    fault = ""

    def __init__(self, roles: Mapping[str, Role], options: SmallOptions) -> None:
        super().__init__(roles, options)
        if self.fault == "cannot be made":
            self.critic = roles["critic"]

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The losses, one of them wrong."""
        if self.fault == "yields nothing":
            return
        for loss in super().losses(batch, draw):
            match self.fault:
                case "misspells a role":
                    yield StagedLoss("studnet", loss.name, loss.value)
                case "trains a frozen role":
                    yield StagedLoss("target", loss.name, loss.value)
                case "leaves one out":
                    if loss.role == "head":
                        yield loss
                case "has no graph":
                    yield StagedLoss(loss.role, loss.name, loss.value.detach())
                case "is no scalar":
                    yield StagedLoss(loss.role, loss.name, loss.value.expand(2))
                case "raises":
                    raise KeyError("student")
                case "asks the undeclared":
                    self.target.predict(
                        batch.latents, draw.uniform("t"), batch.condition_of(self.target), Ask(blocks=1)
                    )
                case "gives its head latents":
                    self.roles["head"].module(batch.latents)
                case "wants an average":
                    with self.student.averaged():
                        yield loss
                case _:
                    yield loss

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """Names, but for one fault."""
        due = super().roles_to_step(step)
        return "student" if self.fault == "steps a string" else due  # type: ignore[return-value]

    def validation(self, step: int) -> ValidationRequest | None:
        """A request, but for one fault."""
        sampler: Any = "euler" if self.fault == "samples by no sampler" else "sde"
        return ValidationRequest("student", sampler, timesteps=(1000.0,), guidance_scale=1.0)

    def keeps(self, step: int) -> Mapping[str, float]:
        """Shares, but for one fault."""
        return {"target": 1.5} if self.fault == "keeps too much" else super().keeps(step)


def faulty(fault: str) -> MethodSpec:
    """The small method with one fault."""
    return MethodSpec(
        "small", "has a fault", SmallOptions, f"tests.core.small_methods:{fault_class(fault)}", ROLES, demands
    )


def fault_class(fault: str) -> str:
    """The name, in this module, of the class that has the fault."""
    name = "Faulty" + "".join(word.capitalize() for word in fault.split())
    globals().setdefault(name, type(name, (Faulty,), {"fault": fault}))
    return name


ROLES = {
    "student": RoleNeed(trainable=True, operations=frozenset({"predict", "features"})),
    "target": RoleNeed(trainable=False, operations=frozenset({"predict"}), follows="student"),
    "head": RoleNeed(trainable=True, module="tests.core.small_methods:Head", optional=True),
}


def demands(options: SmallOptions) -> Demands:
    """The head only where it is wanted."""
    head = {"head": RoleNeed(trainable=True, module="tests.core.small_methods:Head")} if options.head else {}
    return Demands(roles={name: ROLES[name] for name in ("student", "target")} | head)


SMALL = MethodSpec("small", "roles of every kind", SmallOptions, "tests.core.small_methods:Small", ROLES, demands)
