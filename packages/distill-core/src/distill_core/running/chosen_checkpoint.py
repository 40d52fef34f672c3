"""Which checkpoint of a run directory is read: that of a step, or the newest good one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from distill_core.checkpoint import Checkpoint, Checkpoints
from distill_core.errors import CheckpointError, DamagedError
from distill_core.running.run_directory import RunDirectory
from distill_core.tracking.events import Events
from distill_core.training.state import of_weights

UsedT = TypeVar("UsedT")


def choose_checkpoint(directory: RunDirectory, step: int | None, role: str | None = None) -> Checkpoint:
    """The checkpoint of ``step``, or the newest good one. Raises CheckpointError if there is none.

    What has to be good are the weights of ``role``; None is the role that the method samples, or all if it samples none.
    """

    def needed(checkpoint: Checkpoint) -> Callable[[str], bool]:
        """The role's weights and averages."""
        request = checkpoint.sampling()
        name = role if role is not None or request is None else request.role
        return (lambda _: True) if name is None else of_weights(name)

    return use_checkpoint(directory, step, lambda checkpoint: checkpoint.verified(needed))


def use_checkpoint(directory: RunDirectory, step: int | None, use: Callable[[Checkpoint], UsedT]) -> UsedT:
    """What ``use`` makes of the checkpoint of ``step``, or of the newest that it raises no DamagedError for.

    Raises CheckpointError if there is none.
    """
    store = Checkpoints(directory.checkpoints, Events(None), keep_last=1)
    if step is None:
        used = store.first_good(lambda checkpoint: (use(checkpoint),))
        if used is None:
            raise CheckpointError(f"{directory.root} has no checkpoint yet; train it first")
        return used[0]
    for checkpoint in store.published():
        if checkpoint.step == step:
            try:
                return use(checkpoint)
            except DamagedError as error:
                raise CheckpointError(f"{checkpoint.path} is damaged: {error}") from error
    steps = ", ".join(str(checkpoint.step) for checkpoint in store.published())
    raise CheckpointError(f"{directory.root} has no checkpoint of step {step}; it has {steps or 'none'}")
