"""Frozen weights that live in host memory and come to the device for as long as they are used: a model at once, or block by block.

:class:`Visits` knows units and their order and nothing of memory, :mod:`distill_core.training.transfers` memory and nothing of order.
At most two units are there at once: the one that is used and the one that is next, which is fetched while the first computes. A backward
pass, for gradients of inputs or of LoRAs, has them come in reverse. A graph holds views of weights, whose storage is filled again with the
same bytes before they are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn

from distill_core.errors import PluginError
from distill_core.training.recompute import computes_again
from distill_core.training.sharding import blocks_of


@dataclass(frozen=True, eq=False)
class Unit:
    """Weights that come and go together.

    Attributes:
        name: for a person.
        module: whose weights they are, with all below it.
    """

    name: str
    module: nn.Module


class Transfers(Protocol):
    """What moves units."""

    def settle(self, unit: Unit) -> None:
        """From now on the unit lives in host memory."""
        ...

    def begin(self, unit: Unit) -> None:
        """Let it come to the device; returns at once where it can."""
        ...

    def finish(self, unit: Unit) -> None:
        """What is computed from now on finds it there."""
        ...

    def drop(self, unit: Unit) -> None:
        """Its memory on the device is free. What is computed with it already still finds it."""
        ...

    def hosted(self, unit: Unit) -> Mapping[int, Tensor]:
        """The weights in host memory, by the identity of the parameters that they are the numbers of."""
        ...


class Visits:
    """The units of one module, in the order in which a forward pass uses them, and which of them are on the device.

    Attributes:
        units: in order.
    """

    def __init__(self, units: Sequence[Unit], transfers: Transfers) -> None:
        self.units = tuple(units)
        self._transfers = transfers
        self._here: list[int] = []
        for number, unit in enumerate(self.units):
            transfers.settle(unit)
            unit.module.register_forward_pre_hook(partial(self._before, number))
            unit.module.register_forward_hook(partial(self._after, number))

    def rest(self) -> None:
        """Nothing is there."""
        self._drop_but(())

    def _before(self, number: int, *_: Any) -> None:
        """A unit is about to compute; or to compute again, for a backward pass that has fetched it."""
        if not (computes_again() and number in self._here):
            self._visit(number, number + 1)

    def _after(self, number: int, _: nn.Module, __: Any, output: Any) -> None:
        if computes_again():
            return
        graph = [tensor for tensor in _tensors(output) if tensor.requires_grad]
        for tensor in graph:
            tensor.register_hook(partial(self._backward, number))
        if not graph and number == len(self.units) - 1:
            self.rest()

    def _backward(self, number: int, gradient: Tensor) -> None:
        """The gradient of what a unit gave is there: its own backward pass comes next."""
        if gradient.requires_grad:
            raise PluginError(
                f"a second derivative is asked of {self.units[number].name}, whose weights come and go; set its role's placement to device"
            )
        self._visit(number, number - 1)

    def _visit(self, number: int, following: int) -> None:
        """Have a unit there, and the next one on its way."""
        self._drop_but((number, following))
        if number not in self._here:
            self._begin(number)
        self._transfers.finish(self.units[number])
        if 0 <= following < len(self.units) and following not in self._here:
            self._begin(following)

    def _begin(self, number: int) -> None:
        self._here.append(number)
        self._transfers.begin(self.units[number])

    def _drop_but(self, kept: Sequence[int]) -> None:
        for number in [each for each in self._here if each not in kept]:
            self._here.remove(number)
            self._transfers.drop(self.units[number])


class Offload:
    """Where the weights of a set of modules are."""

    def __init__(self, modules: Mapping[str, nn.Module], transfers: Transfers, *, streamed: bool) -> None:
        self._transfers = transfers
        self._visits = [
            Visits(_blocks(name, module) if streamed else [Unit(name, module)], transfers)
            for name, module in modules.items()
        ]

    @property
    def units(self) -> Iterator[Unit]:
        """All of them."""
        return (unit for visits in self._visits for unit in visits.units)

    def hosted(self) -> dict[int, Tensor]:
        """The weights that live in host memory, by the identity of their parameters."""
        return {key: tensor for unit in self.units for key, tensor in self._transfers.hosted(unit).items()}

    def rest(self) -> None:
        """Free the device of all of them."""
        for visits in self._visits:
            visits.rest()


def _blocks(name: str, module: nn.Module) -> list[Unit]:
    return [Unit(f"block {number} of {name}", block) for number, block in enumerate(blocks_of(module))]


def _tensors(output: Any) -> Iterator[Tensor]:
    """What a module gave; ``Any``: a module gives what it likes."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list, Mapping)):
        for each in output.values() if isinstance(output, Mapping) else output:
            yield from _tensors(each)
