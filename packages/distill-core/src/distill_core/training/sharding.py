"""Weights that lie on several ranks in parts: FSDP2, a block at a time. Knows no family; a block is a member of an outermost ModuleList.

A block's weights are whole on a rank while the block computes, and in backward again. Gradients are scattered over the ranks after each
backward pass, as means, so that whole gradients of a model never lie on one device. What cannot be sharded with the rest of its block stays
whole on every rank: scalars, tensors of a special class (quantised ones), and weights of another dtype than most of the block's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from distill_core.training.by_rule import HeldByRule


def shard(module: nn.Module, mesh: DeviceMesh, ready: Callable[[nn.Module], None] = lambda _: None) -> None:
    """Leave on this rank its part of a module's weights, unit by unit. ``ready`` is told of each unit before: its weights may not be there
    until then, and those of a unit that is still to come never are when one is spread."""
    special = _held_by_rule(module)
    blocks = list(blocks_of(module))
    for unit in (*blocks, module):
        ready(unit)
        held = list(unit.parameters()) if unit is not module else _in_no_block(module, blocks)
        whole = set(held) - set(_fitting(held, special))
        own_outputs(unit)
        spread = fully_shard(unit, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    for block in blocks:
        block.register_forward_hook(partial(_bring_rest, spread))  # the last, which is the module


def own_outputs(unit: nn.Module) -> None:
    """What a unit gives out with a graph is no view from now on: FSDP2 hangs the start of its backward pass on it, and that is lost where
    somebody changes a view in place."""
    unit.register_forward_hook(_without_views)


def _without_views(_: nn.Module, __: object, output: object) -> object:
    if type(output) is tuple:  # a named one keeps its names
        return tuple(_owned(each) for each in output)
    return _owned(output)


def _owned(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) and value.requires_grad and value._is_view() else value


def _bring_rest(module: FSDPModule, _: nn.Module, __: object, output: object) -> None:
    """A backward pass that comes by a block's features alone needs what lies in no block, which FSDP2 brings on the way from the output."""
    for each in output if isinstance(output, tuple) else (output,):
        if isinstance(each, Tensor) and each.requires_grad:
            each.register_hook(lambda _: module.unshard())


def units_of(module: nn.Module) -> list[tuple[nn.Module, list[nn.Parameter]]]:
    """What comes together at a time, and the weights of it that are spread: the blocks, and last the module, with all that is in none."""
    blocks = list(blocks_of(module))
    held = [*((block, list(block.parameters())) for block in blocks), (module, _in_no_block(module, blocks))]
    by_rule = _held_by_rule(module)
    return [(unit, _fitting(parameters, by_rule)) for unit, parameters in held]


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """The members of a module's outermost ModuleLists that have weights."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (member for member in child if next(member.parameters(), None) is not None)
        else:
            yield from blocks_of(child)


def _in_no_block(module: nn.Module, blocks: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The weights of a module that are in none of its blocks."""
    inside = {parameter for block in blocks for parameter in block.parameters()}
    return [parameter for parameter in module.parameters() if parameter not in inside]


def _fitting(held: Iterable[nn.Parameter], special: set[nn.Parameter]) -> list[nn.Parameter]:
    """The weights of a unit that are spread."""
    counts: Counter[torch.dtype] = Counter()
    fit = []
    for parameter in held:
        plain = parameter not in special and not is_traceable_wrapper_subclass(parameter.data)
        if parameter.ndim and plain and parameter.is_floating_point():
            counts[parameter.dtype] += parameter.numel()
            fit.append(parameter)
    dtype = counts.most_common()[0][0] if fit else None
    return [parameter for parameter in fit if parameter.dtype is dtype]


def _held_by_rule(module: nn.Module) -> set[nn.Parameter]:
    """What stands for a library's quantised weights in a plan, which are none of plain tensors."""
    layers = [layer for layer in module.modules() if isinstance(layer, HeldByRule)]
    return {each for layer in layers for name, each in layer.named_parameters(recurse=False) if name != "bias"}
