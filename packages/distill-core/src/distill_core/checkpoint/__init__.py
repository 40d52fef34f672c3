"""Saving and resuming: what is saved (state), and how it comes to disk and back (store)."""

from distill_core.checkpoint.state import TrainingState
from distill_core.checkpoint.store import Checkpoint, Checkpoints

__all__ = ["Checkpoint", "Checkpoints", "TrainingState"]
