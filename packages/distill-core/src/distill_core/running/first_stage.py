"""A role that starts from a checkpoint of another run instead of its folder's own weights: the first stage of two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from distill_core.checkpoint import Checkpoint
from distill_core.config.schema import FirstStage
from distill_core.errors import CheckpointError, RunDirectoryError
from distill_core.running.chosen_checkpoint import choose_checkpoint
from distill_core.running.run_directory import RunDirectory
from distill_core.training.averages import WeightAverage
from distill_core.training.roles import RoleHandle
from distill_core.training.state import average_tensors, weight_tensors


@dataclass(frozen=True)
class FoundStage:
    """A checkpoint that has the role.

    Attributes:
        checkpoint: the checkpoint, its weights verified.
        role: the role's name there.
        averaged: whether its average is taken.
    """

    checkpoint: Checkpoint
    role: str
    averaged: bool


def find_stage(stage: FirstStage) -> FoundStage:
    """The checkpoint that a role is to start from; loads nothing. Raises a DistillError for one that is not there, or has no such role."""
    directory = RunDirectory(Path(stage.run))
    if not directory.resolved_yaml.is_file():
        raise RunDirectoryError(f"{stage.run} is no run directory: it has no {directory.resolved_yaml.name}")
    checkpoint = choose_checkpoint(directory, stage.step, stage.role)
    request = checkpoint.sampling()
    role = stage.role if stage.role is not None or request is None else request.role
    names = sorted({name.split(".")[1] for name in checkpoint.state()["tensors"]})
    if role is None or role not in names:
        raise CheckpointError(f"{checkpoint.path} holds no role {role!r}; name as `role` one of {', '.join(names)}")
    kept = f"roles.{role}.average."
    averaged = stage.averaged and any(name.startswith(kept) for name in checkpoint.state()["tensors"])
    return FoundStage(checkpoint, role, averaged)


@torch.no_grad()
def take_weights(role: RoleHandle, stage: FoundStage) -> None:
    """Put the weights of the checkpoint into a role whose modules are those that they were trained in.

    Raises CheckpointError for weights of another shape, or of other modules.
    """
    source = RoleHandle(stage.role, role.modules, role.adapter, trainable=True)
    try:
        stage.checkpoint.load(weight_tensors(source))
        if stage.averaged:
            parameters = source.trained_parameters()
            source.average = WeightAverage(parameters, decay=0.0)
            stage.checkpoint.load(average_tensors(source))
            for name, value in source.average.shadow.items():
                parameters[name].copy_(value)
    finally:
        role.container.requires_grad_(role.trainable)
        role.container.train(role.trainable)
