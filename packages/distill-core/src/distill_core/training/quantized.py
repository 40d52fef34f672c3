"""Frozen weights held in fewer bits: the linear layers of a model's repeated blocks, by torchao (int8, fp8) and bitsandbytes (nf4).

Activations stay in the run's precision, and gradients with respect to inputs flow, so LoRAs train on them. Both libraries are extras.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from distill_core.config.schema import LIBRARIES
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.lora import matching
from distill_core.plugins.weightless import is_weightless
from distill_core.training.by_rule import HeldByRule
from distill_core.training.parts import sharded

_TORCHAO = {"int8": "Int8WeightOnlyConfig", "fp8": "Float8WeightOnlyConfig"}


def quantize(root: nn.Module, kind: str, keep: Iterable[str] = ()) -> int:
    """Hold the linear layers of the blocks (of a model without blocks, all) in a kind of weights, one after another.

    ``keep``: patterns of layers that stay as they are. Returns how many there are now. What a library of others raises, it raises.
    """
    chosen = layers_of(root, kind, keep)
    hold(root, kind, chosen)
    return len(chosen)


def layers_of(root: nn.Module, kind: str, keep: Iterable[str] = ()) -> list[str]:
    """The names of the layers that :func:`quantize` holds in a kind of weights; those may be unread yet."""
    named = {name: module for name, module in root.named_modules() if isinstance(module, nn.Linear)}
    lists = tuple(f"{name}." for name, module in root.named_modules() if isinstance(module, nn.ModuleList))
    chosen = [name for name in named if name.startswith(lists)] if lists else list(named)
    kept = {*matching(chosen, tuple(keep)), *(name for name in chosen if not _fits(kind, named[name]))}
    return [name for name in chosen if name not in kept]


def hold(root: nn.Module, kind: str, names: Iterable[str]) -> None:
    """Hold layers in a kind of weights, one after another."""
    convert = _converter(kind)
    for name in names:
        parent, _, last = name.rpartition(".")
        layer = root.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        convert(root.get_submodule(parent), last, layer)


def why_not(kind: str, device: torch.device, compute: torch.dtype) -> str | None:
    """Why this machine cannot hold weights so, found by a layer of 64 by 64; None if it can."""
    library = LIBRARIES[kind]
    if find_spec(library) is None:
        return f"{kind} weights take {library}, which is not installed; pip install 'distill-core[{library}]'"
    probe = nn.Sequential(nn.Linear(64, 64)).to(device, compute).requires_grad_(False)
    x = torch.ones(2, 64, device=device, dtype=compute, requires_grad=True)
    try:
        with plugin_border():
            quantize(probe, kind)
            probe(x).sum().backward()
    except RefusedError as refusal:
        return f"{library} cannot hold {kind} weights on this machine ({refusal.reason}); choose other weights"
    return None


def held_tensors(tensor: Tensor) -> list[Tensor]:
    """The plain tensors that one of a library's kinds is made of, or itself."""
    whole: Any = tensor
    if sharded(tensor) or not is_traceable_wrapper_subclass(whole):
        return [tensor]
    names, _ = whole.__tensor_flatten__()
    return [inner for name in names for inner in held_tensors(getattr(whole, name))]


def _fits(kind: str, layer: nn.Linear) -> bool:
    """bitsandbytes takes blocks of 64."""
    return kind != "nf4" or (layer.in_features % 64 == 0 and layer.out_features % 64 == 0)


def _converter(kind: str) -> Callable[[nn.Module, str, nn.Linear], None]:
    """What has a layer (of a parent, by a name there) held in a kind of weights."""
    if is_weightless():
        return _by_rule(kind)
    return _by_torchao(kind) if kind in _TORCHAO else _to_nf4


def _by_rule(kind: str) -> Callable[[nn.Module, str, nn.Linear], None]:
    def convert(parent: nn.Module, name: str, layer: nn.Linear) -> None:
        """Another layer takes its place, of the same size as the library's."""
        parent.add_module(name, HeldByRule(layer, kind))

    return convert


def _by_torchao(kind: str) -> Callable[[nn.Module, str, nn.Linear], None]:
    library: Any = import_module("torchao.quantization")
    config = getattr(library, _TORCHAO[kind])()

    def convert(_: nn.Module, __: str, layer: nn.Linear) -> None:
        """The layer's weight becomes a tensor of torchao's."""
        library.quantize_(layer, config)
        layer.weight.requires_grad_(False)

    return convert


def _to_nf4(parent: nn.Module, name: str, layer: nn.Linear) -> None:
    """Another layer takes its place: bitsandbytes' weights are of a layer of its own."""
    library: Any = import_module("bitsandbytes")
    device, dtype = layer.weight.device, layer.weight.dtype
    made = library.nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        layer.bias is not None,
        compute_dtype=dtype,
        quant_type="nf4",
        device="cpu",
    )
    made.load_state_dict(layer.state_dict())
    parent.add_module(name, made.to(device).requires_grad_(False))
