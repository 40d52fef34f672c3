"""What can be saved, and a copy of it in the memory of the host, which is saved while the run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


class State(Protocol):
    """What can be saved, as views: saving reads through them, loading writes through them."""

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name; the owner's own, not copies."""
        ...

    def numbers(self) -> dict[str, Any]:
        """What is not a tensor, JSON-able."""
        ...

    def load_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Put back what :meth:`numbers` gave. Raises CheckpointError for those of another kind of run."""
        ...


class Snapshot:
    """A state as it was when it was taken: a plain copy, into memory that is kept for the next one."""

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._numbers: dict[str, Any] = {}

    @torch.no_grad()
    def take(self, state: State) -> None:
        """Copy a state; what was held before is gone."""
        held, self._tensors = self._tensors, {}
        for name, tensor in state.tensors().items():
            before = held.get(name)
            if before is None or (before.shape, before.dtype) != (tensor.shape, tensor.dtype):
                self._tensors[name] = tensor.detach().to("cpu", copy=True)
            else:
                _local(before).copy_(_local(tensor))
                self._tensors[name] = before
        self._numbers = json.loads(json.dumps(state.numbers()))

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, on the host."""
        return self._tensors

    def numbers(self) -> dict[str, Any]:
        """What is not a tensor."""
        return self._numbers

    def load_numbers(self, numbers: Mapping[str, Any]) -> None:
        """A snapshot is only saved."""
        raise AssertionError("nothing is loaded into a snapshot")


def _local(tensor: Tensor) -> Tensor:
    """What this rank holds of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
