"""What the guards of a training step cost, as a share of it: ``uv run python benchmarks/guards.py``.

A guard is :class:`distill_core.training.guard.FiniteGuard`, which sees each loss and judges each step before anything is applied, and what
the host asks it at the end of a log interval. Their share is below what timing whole steps in pairs can tell on a busy machine, so the time
inside their calls is added up: CPU seconds of the thread, by those of the steps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from step import World, trainer_of

from distill_core.training.guard import FiniteGuard

GUARDS = ("see", "judge", "poison", "broken_steps")
LOG_INTERVAL = 10


class Spent:
    """CPU seconds of this thread inside some calls, and how many there were."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0

    def counting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, counted."""

        def counted(*arguments: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds += time.thread_time() - began
                self.calls += 1

        return counted


@contextmanager
def spent_in_guards() -> Iterator[Spent]:
    """Inside, every call of a guard is counted."""
    spent, before = Spent(), {name: getattr(FiniteGuard, name) for name in GUARDS}
    try:
        for name, call in before.items():
            setattr(FiniteGuard, name, spent.counting(call))
        yield spent
    finally:
        for name, call in before.items():
            setattr(FiniteGuard, name, call)


def measure(folder: Path, method: str, layers: int, heads: int, steps: int) -> dict[str, float | str | int]:
    """The share of the guards in so many steps."""
    world = World(folder, layers, heads)
    trainer = trainer_of(world.run(method, method))
    trainer.train_step(1)
    with spent_in_guards() as spent:
        began = time.thread_time()
        for step in range(2, steps + 2):
            trainer.train_step(step)
            if step % LOG_INTERVAL == 0:
                trainer.log(step)
        whole = time.thread_time() - began
    return {
        "method": method,
        "parameters": world.parameters,
        "guard_calls_per_step": round(spent.calls / steps, 2),
        "guard_microseconds_per_step": round(1e6 * spent.seconds / steps, 1),
        "step_milliseconds": round(1e3 * whole / steps, 1),
        "guard_share": round(spent.seconds / whole, 5),
    }


def main() -> None:
    """Measure and print a line of JSON for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=16, help="32 features each")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for method in ("finetune", "dmd2"):
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(Path(folder), method, arguments.layers, arguments.heads, arguments.steps)))


if __name__ == "__main__":
    main()
