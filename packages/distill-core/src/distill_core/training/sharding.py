"""Weights that lie on several ranks in parts: FSDP2, a block at a time. Knows no family; a block is a member of an outermost ModuleList.

A block's weights are whole on a rank while the block computes, and in backward again. Gradients are scattered over the ranks after each
backward pass, as means, so that whole gradients of a model never lie on one device. What cannot be sharded with the rest of its block stays
whole on every rank: scalars, tensors of a special class (quantised ones), and weights of another dtype than most of the block's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Leave on this rank its part of a module's weights."""
    blocks = list(blocks_of(module))
    units = [*blocks, module]
    inside = {parameter for block in blocks for parameter in block.parameters()}
    whole = {
        parameter
        for unit in units
        for parameter in _misfits(each for each in unit.parameters() if unit is not module or each not in inside)
    }
    for unit in units:
        fully_shard(unit, mesh=mesh, reshard_after_forward=True, ignored_params=whole)


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """The members of a module's outermost ModuleLists that have weights."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (member for member in child if next(member.parameters(), None) is not None)
        else:
            yield from blocks_of(child)


def _misfits(parameters: Iterable[nn.Parameter]) -> set[nn.Parameter]:
    """The weights of a unit that stay whole."""
    counts: Counter[torch.dtype] = Counter()
    fit = []
    held = list(parameters)
    for parameter in held:
        if parameter.ndim and type(parameter.data) is Tensor and parameter.is_floating_point():
            counts[parameter.dtype] += parameter.numel()
            fit.append(parameter)
    if not fit:
        return set(held)
    (dtype, _), *_ = counts.most_common()
    return set(held) - {parameter for parameter in fit if parameter.dtype is dtype}
