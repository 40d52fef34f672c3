"""The trainer, as the command line sees it. The core's own is :class:`distill_core.training.trainer.DistillTrainer`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class TrainingSummary:
    """How a run ended.

    Attributes:
        step: the last finished step.
        seconds: wall-clock seconds of this process.
        checkpoint: the last published checkpoint, if there is one.
    """

    step: int
    seconds: float
    checkpoint: Path | None


class Trainer(Protocol):
    """Runs training from where the run directory left off to its last step."""

    def run(self) -> TrainingSummary:
        """Train. Raises NonFiniteError when a loss or gradient is no longer finite."""
        ...
