"""Methods that keep what no checkpoint holds, and modules whose weights do not follow from a run's seed."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Mapping
from typing import Any

import torch
from tests.testing.good_methods import KitOptions, Regression, mse
from torch import Tensor, nn

from distill_core.plugins.specs import ModelFacts
from distill_core.protocols import Batch, Draw, Role
from distill_core.testing.toy_spec import HIDDEN


class HiddenTarget(Regression):
    """An averaged target of its own making."""

    def __init__(self, roles: Mapping[str, Role], options: KitOptions) -> None:
        super().__init__(roles, options)
        self.average = {name: copy.deepcopy(module) for name, module in self.student.modules.items()}

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        noisy, t_B = self.noisy(batch, draw)
        own = {name: module.state_dict() for name, module in self.student.modules.items()}
        with torch.no_grad():
            for name, module in self.average.items():
                for key, tensor in module.state_dict().items():
                    tensor.lerp_(own[name][key], 0.1)
            drift = sum((p.sum() for m in self.average.values() for p in m.parameters()), torch.zeros(()))
        return mse(self.guess(self.student, batch, noisy, t_B), drift)


class OldPolicy(Regression):
    """A copy of the student, taken every fourth step."""

    def __init__(self, roles: Mapping[str, Role], options: KitOptions) -> None:
        super().__init__(roles, options)
        self.old: dict[str, Tensor] = {}

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        (module,) = self.student.modules.values()
        if draw.step % 4 == 1 and draw.step > 1:
            self.old = {name: p.detach().clone() for name, p in module.named_parameters()}
        noisy, t_B = self.noisy(batch, draw)
        stay = sum(((p - self.old.get(n, p.detach())) ** 2).sum() for n, p in module.named_parameters())
        return mse(self.guess(self.student, batch, noisy, t_B), self.guess(self.teacher, batch, noisy, t_B)) + stay


class RunningMean(Regression):
    """The loss over its running mean, in an attribute."""

    mean = 1.0

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        value = super().value(batch, draw)
        self.mean = 0.9 * self.mean + 0.1 * float(value.detach())
        return value / self.mean


class Counter(Regression):
    """A weight that grows with every call."""

    calls = 0

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        self.calls += 1
        return super().value(batch, draw) * self.calls


class PlainAttribute(nn.Module):
    """A running mean that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.ones(())


def plain_attribute(facts: Mapping[str, ModelFacts], options: KitOptions) -> nn.Module:
    return PlainAttribute()


class MeanInAModule(Regression):
    """The loss over a running mean that a role has, but not as a buffer."""

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        value = super().value(batch, draw)
        module = self.roles["statistic"].module
        assert isinstance(module, PlainAttribute)
        module.mean = 0.9 * module.mean + 0.1 * value.detach()
        return value / module.mean


class MovesTheTeacher(Regression):
    """The frozen teacher as a moving average."""

    def value(self, batch: Batch, draw: Draw) -> Tensor:
        pairs = zip(self.teacher.modules.values(), self.student.modules.values(), strict=True)
        with torch.no_grad():
            for mine, theirs in pairs:
                for parameter, other in zip(mine.parameters(), theirs.parameters(), strict=True):
                    parameter.lerp_(other, 0.01)
        return super().value(batch, draw)


# Modules of its own


def unkeyed_head(facts: Mapping[str, ModelFacts], options: KitOptions) -> nn.Module:
    made = nn.Conv3d(HIDDEN, 1, 1)
    generator = torch.Generator()
    generator.manual_seed(time.perf_counter_ns() % 2**31)
    nn.init.normal_(made.weight, generator=generator)
    return made


def self_seeded_head(facts: Mapping[str, ModelFacts], options: KitOptions) -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv3d(HIDDEN, 1, 1)


def head_of_pythons_random(facts: Mapping[str, ModelFacts], options: KitOptions) -> nn.Module:
    made = nn.Conv3d(HIDDEN, 1, 1)
    nn.init.constant_(made.bias, random.random())
    return made


def empty_head(facts: Mapping[str, ModelFacts], options: KitOptions) -> nn.Module:
    return nn.Identity()


def no_head(facts: Mapping[str, ModelFacts], options: KitOptions) -> Any:
    return {"head": nn.Conv3d(HIDDEN, 1, 1)}


def raising_head(facts: Mapping[str, ModelFacts], options: KitOptions) -> nn.Module:
    return nn.Linear(facts["critic"].feature_width, 1)
