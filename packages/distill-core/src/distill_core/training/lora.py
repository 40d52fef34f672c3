"""Low-rank adapters: what several roles add, each its own, to the layers of one set of frozen weights.

The weights stay as they are, to the bit: nothing is merged, no layer is replaced. A layer that some role adapts adds what the current
prediction wears, for the length of that prediction (:func:`wearing`) and of its recomputation in backward
(:mod:`distill_core.training.recompute`). No switch outlives a prediction, so none leaks into another role's.

Names within an adapter are peft's: ``MODULE.LAYER.lora_A.weight`` [rank, inputs], ``MODULE.LAYER.lora_B.weight`` [outputs, rank].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, cast
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from distill_core.errors import PluginError
from distill_core.randomness import key_bits
from distill_core.surroundings import Surrounding


@dataclass(frozen=True)
class Rank:
    """The size of an update.

    Attributes:
        rank: of the update.
        scale: its factor, alpha / rank.
    """

    rank: int
    scale: float


class LowRank(nn.Module):
    """Δ y = s · B A x of one layer."""

    def __init__(self, layer: nn.Linear, size: Rank, dropout: float, device: torch.device) -> None:
        super().__init__()
        self.scale = size.scale
        self.dropout = dropout
        made = partial(skip_init, nn.Linear, bias=False, device=device, dtype=torch.float32)
        self.lora_A, self.lora_B = made(layer.in_features, size.rank), made(size.rank, layer.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]; under autocast in its dtype, else in that of the weights."""
        if self.dropout and torch.is_grad_enabled():
            x = functional.dropout(x, self.dropout)
        if x.dtype != self.lora_A.weight.dtype and not torch.is_autocast_enabled(x.device.type):
            x = x.to(self.lora_A.weight.dtype)
        return functional.linear(functional.linear(x, self.lora_A.weight), self.lora_B.weight) * self.scale


class LoraWeights(nn.Module):
    """An adapter: a :class:`LowRank` for some of the linear layers of a role's modules, float32, on their device.

    Attributes:
        number: its own in this process, by which layers know it.
        pairs: what it adds, by layer.
        sizes: rank and scale, by the layer's name within the role's modules, e.g. "transformer.blocks.0.attn1.to_q".
        dropout: the share of inputs that it does not see where gradients go through it.
    """

    def __init__(self, modules: Mapping[str, nn.Module], sizes: Mapping[str, Rank], dropout: float = 0.0) -> None:
        super().__init__()
        layers = linear_layers(modules)
        self.sizes = dict(sizes)
        self.dropout = dropout
        self.number = next(_numbers)
        self.pairs: dict[nn.Module, LowRank] = {}
        for name, size in sizes.items():
            layer = layers[name]
            pair = LowRank(layer, size, dropout, layer.weight.device)
            _placed(self, name, pair)
            self.pairs[layer] = pair
            _listen(layer)[self.number] = pair

    def pair(self, name: str) -> LowRank:
        """What it adds to the layer of a name."""
        pair = self.get_submodule(name)
        assert isinstance(pair, LowRank)
        return pair

    @torch.no_grad()
    def load(self, weights: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Take over A and B of each layer, by its name."""
        for name, (a, b) in weights.items():
            self.pair(name).lora_A.weight.copy_(a)
            self.pair(name).lora_B.weight.copy_(b)

    @torch.no_grad()
    def initialize(self, seed: int, role: str, init: str) -> None:
        """First weights, as peft's: A by ``init``, B zero. Each layer's follow from a key, so that they depend on no other layer."""
        for name in self.sizes:
            pair = self.pair(name)
            generator = torch.Generator().manual_seed(key_bits(seed, "lora", role, name))
            drawn = torch.empty(pair.lora_A.weight.shape)
            if init == "gaussian":
                drawn.normal_(std=1.0 / len(drawn), generator=generator)
            else:
                bound = 1.0 / math.sqrt(drawn.shape[1])
                drawn.uniform_(-bound, bound, generator=generator)
            pair.lora_A.weight.copy_(drawn)
            pair.lora_B.weight.zero_()

    @torch.no_grad()
    def merge(self) -> None:
        """Add its update to the weights of its layers, for good; for modules that are no other role's."""
        for layer, pair in self.pairs.items():
            assert isinstance(layer, nn.Linear)
            layer.weight.add_((pair.lora_B.weight @ pair.lora_A.weight * pair.scale).to(layer.weight.dtype))


Worn = tuple[LoraWeights, ...]
"""The adapters that a prediction wears."""

_worn: Surrounding[Worn | None] = Surrounding(None)
_listening: WeakSet[nn.Module] = WeakSet()
_numbers = count()


def wearing(loras: Worn) -> AbstractContextManager[None]:
    """Inside, adapted layers add what ``loras`` say; () is the weights alone."""
    return _worn.being(loras)


def draws_numbers() -> bool:
    """Whether what is worn draws random numbers: dropout."""
    return any(lora.dropout for lora in _worn.value or ())


def _add_worn(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The forward hook of an adapted layer."""
    worn = _worn.value
    if worn is None:
        raise PluginError(
            "a layer with LoRAs ran outside of any role's prediction, where nobody says whose it wears: ask the role (predict, "
            "extension), and recompute activations by distill_core.training.recompute, which remembers"
        )
    pairs = _pairs_of(layer)
    for lora in worn:
        pair = pairs.get(lora.number)
        if pair is not None:
            output = output + pair(inputs[0]).to(output.dtype)
    return output


def _listen(layer: nn.Module) -> dict[int, LowRank]:
    """Let a layer add what is worn; once, however many adapters it has. Returns its pairs, by the adapters' numbers.

    They are an attribute of the layer, and by number, because torch.compile looks at both again before it runs what it made of a block
    for another block, and not at a mapping whose keys are modules.
    """
    if layer not in _listening:
        _listening.add(layer)
        layer.register_forward_hook(_add_worn)
        vars(layer)["worn_pairs"] = {}  # no part of the module's own, so weights keep their names
    return _pairs_of(layer)


def _pairs_of(layer: nn.Module) -> dict[int, LowRank]:
    pairs: Any = layer.worn_pairs  # torch types what a module holds as a tensor or a module
    return cast("dict[int, LowRank]", pairs)


def linear_layers(modules: Mapping[str, nn.Module]) -> dict[str, nn.Linear]:
    """Every linear layer of a role's modules, by its name within them."""
    return {
        f"{part}.{name}": module
        for part, root in modules.items()
        for name, module in root.named_modules()
        if isinstance(module, nn.Linear)
    }


def _placed(root: nn.Module, name: str, module: nn.Module) -> None:
    """Register a module under a dotted name, with plain modules on the way."""
    *way, last = name.split(".")
    for part in way:
        if part not in dict(root.named_children()):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(last, module)
