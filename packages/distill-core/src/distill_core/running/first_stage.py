"""A role that starts from a checkpoint of another run instead of its folder's own weights: the first stage of two."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from distill_core.checkpoint import Checkpoint
from distill_core.config.document import read_document
from distill_core.config.schema import FirstStage
from distill_core.durable import read_signed
from distill_core.errors import CheckpointError, RunDirectoryError
from distill_core.protocols.adapter import Adapter
from distill_core.running.chosen_checkpoint import choose_checkpoint
from distill_core.running.run_directory import RunDirectory
from distill_core.training.averages import WeightAverage
from distill_core.training.roles import RoleHandle
from distill_core.training.state import average_tensors, weight_tensors

LORA_ENDINGS = (".lora_A.weight", ".lora_B.weight")
"""How the names of a LoRA's weights end."""


@dataclass(frozen=True)
class FoundStage:
    """A checkpoint that has the role.

    Attributes:
        checkpoint: the checkpoint, its weights verified.
        role: the role's name there.
        averaged: whether its average is taken.
        lora: whether what it trained is a LoRA, and not all weights.
    """

    checkpoint: Checkpoint
    role: str
    averaged: bool
    lora: bool

    def unplaced(self, names: Collection[str]) -> list[str]:
        """The role's weights and buffers that are none of ``names``, which are those of a role that is to start from it."""
        prefix = f"roles.{self.role}.modules."
        held = (name.removeprefix(prefix) for name in self.checkpoint.state()["tensors"] if name.startswith(prefix))
        return sorted(name for name in held if name not in names)


def find_stage(stage: FirstStage) -> FoundStage:
    """The checkpoint that a role is to start from; loads nothing. Raises a DistillError for one that is not there, or has no such role."""
    directory = RunDirectory(Path(stage.run))
    directory.refuse_no_run()
    checkpoint = choose_checkpoint(directory, stage.step, stage.role)
    request = checkpoint.sampling()
    role = stage.role if stage.role is not None or request is None else request.role
    tensors = checkpoint.state()["tensors"]
    names = sorted({name.split(".")[1] for name in tensors})
    if role is None or role not in names:
        raise CheckpointError(f"{checkpoint.path} holds no role {role!r}; name as `role` one of {', '.join(names)}")
    kept = f"roles.{role}.average."
    averaged = stage.averaged and any(name.startswith(kept) for name in tensors)
    weights = [name for name in tensors if name.startswith(f"roles.{role}.modules.")]
    return FoundStage(checkpoint, role, averaged, all(name.endswith(LORA_ENDINGS) for name in weights))


def refuse_other_stage(stage: FirstStage, methods: tuple[str, ...]) -> None:
    """A run of another method than those that a role may start from; none are named: any may be. Raises a DistillError."""
    if not methods:
        return
    resolved = RunDirectory(Path(stage.run)).resolved_yaml
    try:
        method = read_document(read_signed(resolved), str(resolved)).data["recipe"]["method"]
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{resolved} is damaged; the command that trained the run writes it anew") from error
    if method not in methods:
        raise CheckpointError(
            f"{stage.run} was trained by method {method!r}, and this role starts from what {' or '.join(methods)} made; "
            "name the run directory of such a run"
        )


@torch.no_grad()
def take_weights(role: RoleHandle, stage: FoundStage) -> None:
    """Put the weights of the checkpoint into a role's own part, which is what they were trained in.

    Raises CheckpointError for weights of another shape, or of other modules.
    """
    if stage.lora and role.lora is None:
        raise CheckpointError(
            f"{stage.checkpoint.path} holds a LoRA of {stage.role!r}, and this role has none; give it `lora`, as that run had it, or "
            "export the LoRA (`distill export --lora`) and name it under fixed_loras"
        )
    source = RoleHandle(stage.role, role.container, role.adapter, trainable=True, lora=role.lora)
    try:
        stage.checkpoint.load(weight_tensors(source))
        if stage.averaged:
            parameters = source.trained_parameters()
            source.average = WeightAverage(parameters, decay=0.0)
            stage.checkpoint.load(average_tensors(source))
            for name, value in source.average.shadow.items():
                parameters[name].copy_(value)
    finally:
        role.settle()


def take_base(container: nn.ModuleDict, adapter: Adapter, stage: FoundStage) -> None:
    """Put all weights of the checkpoint into frozen modules. Raises CheckpointError likewise."""
    take_weights(RoleHandle(stage.role, container, adapter, trainable=False), stage)


class StageInTurn:
    """Puts the weights of a checkpoint into modules of which not all were read yet, one after another."""

    def __init__(self, container: nn.ModuleDict, stage: FoundStage) -> None:
        self.stage = stage
        self._places = {module: f"{name}." if name else "" for name, module in container.named_modules()}

    @torch.no_grad()
    def take(self, module: nn.Module) -> None:
        """Those of a module, or of what of it was read. Raises CheckpointError like :func:`take_weights`."""
        place, parameters = self._places[module], dict(module.named_parameters())
        tensors = {}
        for name, tensor in module.state_dict().items():
            kept = "average" if self.stage.averaged and name in parameters else "modules"
            if not tensor.is_meta:
                tensors[f"roles.{self.stage.role}.{kept}.{place}{name}"] = tensor
        self.stage.checkpoint.load(tensors)
