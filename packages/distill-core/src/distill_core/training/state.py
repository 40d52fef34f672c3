"""What a checkpoint holds: the tensors of every trained role, and a few numbers as JSON. Nothing of ours is pickled;
torch's own index of the tensors is, and is read only after its hash has been checked.

Randomness and schedules are functions of the step and of each role's updates, so they need no state of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from distill_core.data.reading.stream import RowStream
from distill_core.errors import CheckpointError
from distill_core.training.optimization import RoleOptimizer, Span
from distill_core.training.parts import part
from distill_core.training.quantized import held_tensors
from distill_core.training.roles import RoleHandle


def weight_tensors(role: RoleHandle) -> dict[str, Tensor]:
    """The weights and buffers that a checkpoint must hold of a role, by checkpoint name."""
    return {f"roles.{role.name}.modules.{name}": tensor for name, tensor in role.state_tensors().items()}


def average_tensors(role: RoleHandle) -> dict[str, Tensor]:
    """The role's EMA, by checkpoint name; empty if it keeps none."""
    if role.average is None:
        return {}
    return {f"roles.{role.name}.average.{name}": tensor for name, tensor in role.average.shadow.items()}


def finished_tensors(role: RoleHandle, *, averaged: bool) -> dict[str, Tensor]:
    """Where a finished role's weights and buffers go, by the checkpoint name of what they are to hold: its average, if that is wanted."""
    found = {name: tensor.detach() for name, tensor in role.state_tensors().items()}
    trained = role.trained_parameters().keys() if averaged else ()
    return {
        f"roles.{role.name}.{'average' if name in trained else 'modules'}.{name}": tensor
        for name, tensor in found.items()
    }


def of_weights(role: str) -> Callable[[str], bool]:
    """Whether a tensor of a checkpoint is of a role's weights, trained or averaged, by its name."""
    prefixes = (f"roles.{role}.modules.", f"roles.{role}.average.")
    return lambda name: name.startswith(prefixes)


def optimizer_tensors(role: str, optimizer: RoleOptimizer) -> dict[str, Tensor]:
    """AdamW's state, by checkpoint name; moments in 8 bits by the tensors that they are held in."""
    found: dict[str, Tensor] = {}
    for name, parameter in optimizer.parameters.items():
        for key, tensor in optimizer.adamw.state[parameter].items():
            place, held = f"roles.{role}.optimizer.{name}.{key}", held_tensors(tensor)
            whole = held[0] is tensor
            found |= {place if whole else f"{place}.{number}": part for number, part in enumerate(held)}
    return found


class TrainingState:
    """The state of a run, as views: saving reads through them, loading writes through them.

    Attributes:
        roles: every participant, frozen ones too.
        trained: the roles that have an optimizer, with it.
        stream: the data, at the run's position.
        latent_shape: [T, C, H, W] of a sample.
    """

    def __init__(
        self, roles: Mapping[str, RoleHandle], stream: RowStream, latent_shape: tuple[int, int, int, int]
    ) -> None:
        self.roles = roles
        self.trained = {name: (role, role.optimizer) for name, role in roles.items() if role.optimizer is not None}
        self.stream = stream
        self.latent_shape = latent_shape

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name; the run's own, not copies."""
        named: dict[str, Tensor] = {}
        for name, role in self.roles.items():
            named |= weight_tensors(role) | average_tensors(role)
            if role.optimizer is not None:
                named |= optimizer_tensors(name, role.optimizer)
        return named

    def numbers(self) -> dict[str, Any]:
        """What is no tensor, JSON-able: each role's updates and schedule, the position in the data, the shape [T, C, H, W] of a sample."""
        updates = {name: optimizer.updates for name, (_, optimizer) in self.trained.items()}
        schedules = {name: asdict(optimizer.span) for name, (_, optimizer) in self.trained.items()}
        data = self.stream.state_dict()
        return {"updates": updates, "schedules": schedules, "data": data, "latent_shape": list(self.latent_shape)}

    def go_back(self, numbers: Mapping[str, Any]) -> None:
        """Put back what :meth:`numbers` gave at a checkpoint, whose tensors are loaded, but for the position in the data: the same rows
        would lead here again."""
        position = self.stream.state_dict()
        spans = {name: optimizer.span for name, (_, optimizer) in self.trained.items()}
        self.load_numbers(numbers)
        self.stream.load_state_dict(position)
        for name, (_, optimizer) in self.trained.items():
            optimizer.span = spans[name]
            optimizer.clear()

    def load_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Put back what :meth:`numbers` gave. Raises CheckpointError if the trained roles are others."""
        if set(numbers["updates"]) != set(self.trained):
            raise CheckpointError(
                f"the checkpoint trains {sorted(numbers['updates'])}, this run trains {sorted(self.trained)}; choose another output_dir"
            )
        for name, (_, optimizer) in self.trained.items():
            optimizer.updates = int(numbers["updates"][name])
            if "schedules" in numbers:  # a checkpoint of before they were kept leaves the schedule as the run has it
                optimizer.span = Span(**numbers["schedules"][name])
        self.stream.load_state_dict(numbers["data"])


SUMMED = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
"""Dtypes of which a sum of squares tells at once that all is finite."""


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors that hold a NaN or an infinity. The host waits once for each device, not for each tensor.

    A norm that is finite is one of finite numbers, and costs a fraction of looking at each of them; where it is not, they are looked at.
    """
    kinds: dict[torch.device, dict[torch.dtype, list[str]]] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() or tensor.is_complex():
            kinds.setdefault(tensor.device, {}).setdefault(tensor.dtype, []).append(name)
    doubtful: list[str] = []
    for of_device in kinds.values():
        summed = {dtype: names for dtype, names in of_device.items() if dtype in SUMMED}
        doubtful += [name for dtype, names in of_device.items() if dtype not in SUMMED for name in names]
        flags = [
            torch.stack(torch._foreach_norm([part(tensors[name]).detach() for name in names])).isfinite()
            for names in summed.values()
        ]
        if flags:
            good = torch.cat(flags).tolist()
            named = (name for names in summed.values() for name in names)
            doubtful += [name for name, fine in zip(named, good, strict=True) if not fine]
    broken = {name for name in doubtful if not part(tensors[name]).isfinite().all()}
    return [name for name in tensors if name in broken]
