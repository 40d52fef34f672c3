"""Going on from a checkpoint that a person names, instead of from the newest good one, and what becomes of what was made after it.

Nothing is deleted: it is set aside, and only if that was said.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from distill_core.checkpoint import Checkpoint
from distill_core.checkpoint.published import at, published
from distill_core.config.schema import Checkpoint as Settings
from distill_core.errors import CheckpointError
from distill_core.running.run_directory import RunDirectory
from distill_core.tracking.events import Events

LATER = "later"
"""What ``checkpoint.accept`` names for checkpoints and figures after the one that a run is to go on from."""


def named_checkpoint(named: str, directory: RunDirectory) -> Checkpoint:
    """The checkpoint that ``--resume`` names: a step of this run, or the path of a checkpoint anywhere. Raises CheckpointError for none."""
    if named.isascii() and named.isdigit():
        found = published(directory.checkpoints)
        for checkpoint in found:
            if checkpoint.step == int(named):
                return checkpoint
        steps = ", ".join(str(checkpoint.step) for checkpoint in found)
        raise CheckpointError(f"--resume {named}: {directory.root} has no such checkpoint; it has {steps or 'none'}")
    elsewhere = at(Path(named))
    if elsewhere is None:
        inside = [str(each.path) for each in published(Path(named) / "checkpoints") or published(Path(named))]
        remedy = (
            f"name one of {', '.join(inside)}"
            if inside
            else "name a step, or a folder step-00000100 of a run's checkpoints"
        )
        raise CheckpointError(f"--resume {named}: that is no checkpoint; {remedy}")
    return elsewhere


def refuse_named(named: str, directory: RunDirectory, settings: Settings) -> None:
    """Raise CheckpointError where a run may not go on from the checkpoint of that name."""
    if settings.resume == "never":
        raise CheckpointError("--resume names a checkpoint, and checkpoint.resume is never; leave one of them out")
    checkpoint = named_checkpoint(named, directory)
    later = _later(directory, checkpoint)
    if later and LATER not in settings.accept:
        accept = ", ".join([*settings.accept, LATER])
        there = ", ".join(each.path.name for each in later)
        raise CheckpointError(
            f"--resume {named}: {directory.root} went on from there, to {there}; leave --resume out to go on from the newest, or set them "
            f"aside by checkpoint.accept=[{accept}], once: the next time that would set aside what has been trained since"
        )


def set_aside_later(directory: RunDirectory, checkpoint: Checkpoint, events: Events) -> None:
    """Move what the run made after a checkpoint out of the way of what it will make, and say so."""
    mark = uuid.uuid4().hex[:8]
    for later in _later(directory, checkpoint):
        aside = directory.checkpoints / f"{LATER}-{later.step:08d}-{mark}"
        os.rename(later.path, aside)
        events.warn("set_aside", f"{later.path} is now {aside}; delete it when it is not needed", step=checkpoint.step)
    if directory.metrics.exists():
        kept = directory.metrics.with_name(f"{directory.metrics.name}.{LATER}-{mark}")
        shutil.copyfile(directory.metrics, kept)
        events.note("set_aside", f"the figures as they were before the run went back are {kept}", step=checkpoint.step)


def _later(directory: RunDirectory, checkpoint: Checkpoint) -> list[Checkpoint]:
    """Those of the run that what follows the checkpoint would lie beside, newest first."""
    own = checkpoint.path.resolve()
    return [
        each for each in published(directory.checkpoints) if each.step >= checkpoint.step and each.path.resolve() != own
    ]
