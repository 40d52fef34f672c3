"""How often a role steps in a run, and whether that is enough to train it. Knows no method: cadence is a function of the step."""

from __future__ import annotations

from collections.abc import Callable

from distill_core.config.document import KeyPath
from distill_core.config.schema import RunConfig

Cadence = Callable[[int], tuple[str, ...]]
"""The roles that step at the end of a training step, counted from 1."""

FAR_AHEAD = 10_000
"""Steps after a run's last that are searched for the first one at which a role would step."""


def updates_of(cadence: Cadence, role: str, steps: int) -> int:
    """How often a role steps in a run of so many steps: the length of its learning-rate schedule."""
    return sum(role in cadence(step) for step in range(1, steps + 1))


def idleness(cadence: Cadence, role: str, config: RunConfig) -> tuple[KeyPath, str] | None:
    """The key and the message for a role that the run would never step, or never past its warm-up; None for any other."""
    steps, warmup = config.training.max_train_steps, config.optimization(role).lr_warmup_steps
    updates = updates_of(cadence, role, steps)
    if updates == 0:
        first = next((step for step in range(steps + 1, steps + FAR_AHEAD) if role in cadence(step)), None)
        remedy = "step it more often" if first is None else f"set this to at least {first}, or step it more often"
        return ("training", "max_train_steps"), f"role {role!r} would not be trained in {steps} steps; {remedy}"
    if warmup >= updates:
        own = config.roles[role].lr_warmup_steps is not None
        key: KeyPath = ("roles", role, "lr_warmup_steps") if own else ("training", "lr_warmup_steps")
        message = f"role {role!r} makes {updates} updates in {steps} steps and would end in its warm-up"
        return key, f"{message}; set this below {updates}, or train longer"
    return None
