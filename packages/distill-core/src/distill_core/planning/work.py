"""What a run computes: floating-point operations of products and attention, and bytes that everything else reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_CPU_ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


@dataclass
class Work:
    """A sum of operations.

    Attributes:
        flops: of products and attention; a multiplication and an addition are two.
        traffic: bytes that all other operations read and write.
        operations: how many operations there were.
    """

    flops: int = 0
    traffic: int = 0
    operations: int = 0

    def add(self, flops: int, read: Sequence[Tensor], written: Sequence[Tensor]) -> None:
        """Take in one operation."""
        self.operations += 1
        self.flops += flops
        if not flops:
            self.traffic += sum(tensor.numel() * tensor.element_size() for tensor in (*read, *written))

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.traffic + other.traffic, self.operations + other.operations)


def flops_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], made: Any) -> int:
    """By torch's own counter; 0 for what is no product."""
    if func is _CPU_ATTENTION:
        return int(sdpa_flop_count(*(each.shape for each in args[:3])))
    if func is _CPU_ATTENTION_BACKWARD:
        return int(sdpa_backward_flop_count(*(each.shape for each in args[:4])))
    count = flop_registry.get(func.overloadpacket)
    return 0 if count is None else int(count(*args, **kwargs, out_val=made))


def workspace_of(func: Any, args: Sequence[Any]) -> int:
    """Bytes that a GPU's kernel takes for itself: attention's backward sums the gradient of q in float32, and something of each row."""
    if func is not _CPU_ATTENTION_BACKWARD:
        return 0
    query = args[1]
    return int(4 * (query.numel() + query.numel() // query.shape[-1]))
