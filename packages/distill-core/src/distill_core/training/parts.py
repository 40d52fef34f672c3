"""Tensors of which a rank holds a part: where the numbers are what counts, and not the whole, this rank's part is computed with."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.distributed.tensor import DTensor


def sharded(tensor: Tensor) -> bool:
    """Whether this rank holds only a part of a tensor."""
    return isinstance(tensor, DTensor)


def part(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor, as a view; the tensor itself, unless it is sharded."""
    if not isinstance(tensor, DTensor):
        return tensor
    held: Tensor = tensor.to_local()
    return held


def parts(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What this rank holds of tensors."""
    return [part(tensor) for tensor in tensors]
