"""What trains a role: AdamW, the clipping of its gradients, and a learning rate that is a function of the role's own updates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill_core.config.schema import LrSchedule, Optimization
from distill_core.training.by_rule import EightBitByRule
from distill_core.training.eight_bit import eight_bit_adamw, set_rate
from distill_core.training.guarded_adamw import Flag, GuardedAdamW


@dataclass(frozen=True)
class Span:
    """The updates over which a learning rate takes its shape.

    Attributes:
        first: the update at which it is counted from.
        reached: how far the shape is there, in [0, 1].
        end: the number of updates at which the shape has reached its end: that of the run.
    """

    first: int
    reached: float
    end: int

    def progress(self, update: int) -> float:
        """How far the shape is at an update, in [0, 1]."""
        if update <= self.first:
            return self.reached
        return min(1.0, self.reached + (1.0 - self.reached) * (update - self.first) / max(1, self.end - self.first))

    def ending_at(self, end: int, update: int) -> Span:
        """The same shape from ``update`` on, stretched or squeezed to another end: the rate goes on from where it is."""
        return self if end == self.end else Span(max(update, self.first), self.progress(update), end)


def lr_multiplier(settings: Optimization, update: int, span: Span) -> float:
    """The learning rate of update number ``update`` (from 0), as a share of the peak.

    The warm-up rises linearly, the shape follows and has reached its end at the end of ``span``, the end of the run.
    """
    if update < settings.lr_warmup_steps:
        return (update + 1) / (settings.lr_warmup_steps + 1)
    return _shape(settings.lr_scheduler, settings, span.progress(update))


def _shape(schedule: LrSchedule, settings: Optimization, progress: float) -> float:
    wave = 0.5 * (1.0 + math.cos(2.0 * math.pi * settings.lr_num_cycles * progress))
    floor = settings.min_lr_ratio
    match schedule:
        case "constant" | "constant_with_warmup":
            return 1.0
        case "linear":
            return 1.0 - progress
        case "cosine":
            return wave
        case "cosine_with_min_lr":
            return floor + (1.0 - floor) * wave
        case "polynomial":
            return floor + (1.0 - floor) * math.pow(1.0 - progress, settings.lr_power)


class RoleOptimizer:
    """AdamW of one role with its learning rate and its clipping.

    Attributes:
        adamw: the optimizer. Its state exists from the start, so that a checkpoint before the first update holds it like any other.
        updates: updates made so far. The learning rate is a function of it and of ``span``, the state that a schedule has.
        span: the updates over which the rate takes its shape.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], settings: Optimization, total_updates: int) -> None:
        self.settings = settings
        self.updates = 0
        self.span = Span(settings.lr_warmup_steps, 0.0, total_updates)
        self.parameters = parameters
        self.adamw = _made(list(parameters.values()), settings)

    @property
    def learning_rate(self) -> float:
        """The rate of the next update."""
        return self._rate(self.updates)

    @property
    def last_learning_rate(self) -> float:
        """The rate of the last update; of the first one before that."""
        return self._rate(max(0, self.updates - 1))

    def _rate(self, update: int) -> float:
        return self.settings.learning_rate * lr_multiplier(self.settings, update, self.span)

    def go_on(self, updates: int) -> None:
        """So many updates follow in the run. Where that is not what its schedule was made for, it ends with the run all the same."""
        self.span = self.span.ending_at(self.updates + updates, self.updates)

    def norm(self) -> Tensor:
        """The norm of all gradients, on the device."""
        parameters = list(self.parameters.values())
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return nn.utils.get_total_norm(gradients, foreach=True).to(parameters[0].device)

    def clip(self, norm: Tensor) -> None:
        """Scale the gradients, whose norm is given, down to the role's limit."""
        limit = math.inf if self.settings.max_grad_norm is None else self.settings.max_grad_norm
        nn.utils.clip_grads_with_norm_(self.parameters.values(), limit, norm, foreach=True)

    def step(self, flag: Flag | None = None) -> None:
        """Update at the scheduled rate, and clear the gradients.

        Where the ``flag`` says that the step is broken, weights and moments stay bitwise as they are. The update counts all the same: the
        host does not know, and schedules end with the run.
        """
        if isinstance(self.adamw, GuardedAdamW):
            self.adamw.update(self.learning_rate, flag)
        elif isinstance(self.adamw, EightBitByRule):
            self.adamw.step()
        elif flag is None or not bool(flag.broken):  # it knows no such flag, so the host has to
            set_rate(self.adamw, self.learning_rate)
            self.adamw.step()
        self.updates += 1
        self.clear()

    def clear(self) -> None:
        """Drop the gradients; ``zero_grad`` would do the same in twenty times as long."""
        for parameter in self.parameters.values():
            parameter.grad = None


def _made(parameters: list[nn.Parameter], settings: Optimization) -> torch.optim.Optimizer:
    if settings.optimizer == "adamw8bit":
        return eight_bit_adamw(parameters, settings)
    return GuardedAdamW(parameters, settings)
