"""How often a role steps in a run, and whether that is enough to train it. Knows no method: cadence is a function of the step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from distill_core.config.document import KeyPath
from distill_core.config.schema import RunConfig

Cadence = Callable[[int], tuple[str, ...]]
"""The roles that step at the end of a training step, counted from 1."""

FAR_AHEAD = 10_000
"""Steps after a run's last that are searched for the first one at which a role would step."""


def updates_of(cadence: Cadence, steps: int) -> Counter[str]:
    """How often each role steps in a run of so many steps: the length of its learning-rate schedule. Each step is asked once."""
    updates: Counter[str] = Counter()
    for due, times in Counter(map(tuple, map(cadence, range(1, steps + 1)))).items():
        updates.update(dict.fromkeys(due, times))
    return updates


def idleness(
    cadence: Cadence, updates: Counter[str], roles: Iterable[str], config: RunConfig
) -> Iterator[tuple[KeyPath, str]]:
    """The key and the message for each role that the run would never step, or never past its warm-up.

    ``updates``: those of the cadence, over the whole run.
    """
    steps = config.training.max_train_steps
    for role in roles:
        if not updates[role]:
            first = next((step for step in range(steps + 1, steps + FAR_AHEAD) if role in cadence(step)), None)
            remedy = "step it more often" if first is None else f"set this to at least {first}, or step it more often"
            yield ("training", "max_train_steps"), f"role {role!r} would not be trained in {steps} steps; {remedy}"
        elif config.optimization(role).lr_warmup_steps >= updates[role]:
            own = config.roles[role].lr_warmup_steps is not None
            key: KeyPath = ("roles", role, "lr_warmup_steps") if own else ("training", "lr_warmup_steps")
            message = f"role {role!r} makes {updates[role]} updates in {steps} steps and would end in its warm-up"
            yield key, f"{message}; set this below {updates[role]}, or train longer"
