"""How long a run is, and what happens how often in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distill_core.config.sparsity import SparsityRamp


@dataclass(frozen=True)
class Schedule:
    """How long a run is and what happens how often. An interval of None never comes.

    Attributes:
        max_steps: training steps.
        accumulation: micro-steps per step.
        seed: the key of all randomness.
        log_interval: steps per line of metrics.
        save_interval: steps per checkpoint.
        save_every: seconds after which there is one more.
        validation_interval: steps per validation.
        validate_at_start: also validate before the first step.
        on_nonfinite: what a step that is not finite leads to.
        step_roles: whether all roles step at the step's end, or each once it is done.
        sparsity: how sparse attention grows; None where the method asks for none. Validation is at its target.
        until: a step to leave after, saved, as if the run had been stopped there; None goes on to the end.
    """

    max_steps: int
    accumulation: int
    seed: int
    log_interval: int
    save_interval: int | None
    validation_interval: int | None
    validate_at_start: bool
    save_every: float | None = None
    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    sparsity: SparsityRamp | None = None
    until: int | None = None
    step_roles: Literal["together", "alone"] = "together"

    @property
    def last(self) -> int:
        """The last step that is trained."""
        return self.max_steps if self.until is None else min(self.until, self.max_steps)
