"""Saving and resuming: how a state comes to disk and back. What a state is, its owner says."""

from distill_core.checkpoint.identity import Consent, Identity
from distill_core.checkpoint.published import Checkpoint, records_alone
from distill_core.checkpoint.snapshot import State
from distill_core.checkpoint.store import Checkpoints

__all__ = ["Checkpoint", "Checkpoints", "Consent", "Identity", "State", "records_alone"]
