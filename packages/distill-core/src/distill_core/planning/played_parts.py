"""Weights in parts, in a plan: whole to what is played; the ledger counts of them what one rank holds, and what comes and goes.

What FSDP2 does, unit by unit, as far as memory goes. A unit's weights come through one flat buffer, which in a forward pass stays until
those of the next unit have come, and are whole until the unit has computed. In backward those of the unit before are on their way
meanwhile. Gradients are whole until the unit's backward is over, lie in one flat buffer while they are scattered, and the buffer stays
until the next unit's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, autograd, is_grad_enabled, nn

from distill_core.planning.hollow import tensors_of
from distill_core.planning.ledger import Ledger
from distill_core.training.sharding import own_outputs, units_of


class Unit:
    """A block of a model, or what is in none of them: weights that are whole, and in parts again, together.

    Attributes:
        module: what computes with them.
        whole: bytes of them when they are whole.
        gradients: bytes of whole gradients of a backward pass that is going on.
        backward: whether its backward pass goes on.
    """

    def __init__(self, module: nn.Module, parameters: list[nn.Parameter], shares: int) -> None:
        self.module = module
        self.whole = sum(shares * part_size(parameter, shares) for parameter in parameters)
        self.gradients = 0
        self.backward = False


def part_size(tensor: Tensor, shares: int) -> int:
    """Bytes of the first of so many parts of a tensor by its first dimension: the largest, to whose size the others are filled up."""
    rows = len(tensor)
    return -(-rows // shares) * (tensor.numel() // rows) * tensor.element_size() if rows else 0


class PlayedParts:
    """The models of a run that lie in parts, each as FSDP2 has it. ``shares``: how many ranks share one."""

    def __init__(self, ledger: Ledger, shares: int) -> None:
        self.ledger = ledger
        self.shares = shares
        self._models: list[PlayedModel] = []
        self._units: dict[nn.Parameter, Unit] = {}

    def __contains__(self, parameter: nn.Parameter) -> bool:
        return parameter in self._units

    def settle(self, module: nn.Module) -> None:
        """The whole weights of a model have left the device but for this rank's part, before the next one is loaded."""
        for _, parameters in units_of(module):
            self._shrink({parameter: parameter for parameter in parameters})

    def coming(self, module: nn.Module) -> int:
        """The most that a unit of a model has beside this rank's part while it is whole."""
        units = units_of(module)
        return max(sum((self.shares - 1) * part_size(each, self.shares) for each in held) for _, held in units)

    def watch(self, module: nn.Module, owner: str) -> None:
        """From now on the weights of a model, which a role or several own, are in parts, but while a unit computes."""
        units = []
        for unit, parameters in units_of(module):
            own_outputs(unit)
            if parameters:
                units.append(Unit(unit, parameters, self.shares))
                self._units |= dict.fromkeys(parameters, units[-1])
        self.settle(module)
        others = (self.shares - 1) / self.shares
        self._models.append(
            PlayedModel(units, module, self.ledger, lambda size: self.ledger.send(owner, others * size))
        )

    def shrink(self, held: Mapping[nn.Parameter, Tensor]) -> None:
        """Of tensors that are each of the shape of a parameter, this rank holds the part that it holds of that."""
        self._shrink({parameter: tensor for parameter, tensor in held.items() if parameter in self})

    def _shrink(self, held: Mapping[nn.Parameter, Tensor]) -> None:
        for tensor in held.values():
            self.ledger.count_as(tensor, part_size(tensor, self.shares))

    def gradient_came(self, parameter: nn.Parameter) -> None:
        """A parameter has its gradient of this backward pass."""
        if parameter in self:
            assert parameter.grad is not None
            self.shrink({parameter: parameter.grad})
            size = self.shares * part_size(parameter.grad, self.shares)
            self._units[parameter].gradients += size
            self.ledger.take(size)

    def lies_flat(self, parameters: Iterable[nn.Parameter]) -> None:
        """This rank's parts of gradients are sent together."""
        size = sum(part_size(parameter, self.shares) for parameter in parameters)
        self.ledger.take(size)
        self.ledger.take(-size)

    def backward_is_over(self) -> None:
        """Nothing is whole any more."""
        for model in self._models:
            model.backward_is_over()


class PlayedModel:
    """One model's passes. What FSDP2 shares between the units of a model is shared here. ``send`` is told of whole bytes of which the
    other ranks' parts come, or go."""

    def __init__(self, units: list[Unit], root: nn.Module, ledger: Ledger, send: Callable[[int], None]) -> None:
        self.units = units
        self.root = root
        self.ledger = ledger
        self.send = send
        self._gathered: dict[Unit, int] = {}
        self._coming: dict[Unit, int] = {}
        self._kept = self._scattered = 0
        self._order: list[Unit] = []
        for unit in units:
            unit.module.register_forward_pre_hook(
                lambda _, args, kwargs, unit=unit: self._begin(unit, args, kwargs), with_kwargs=True
            )
            unit.module.register_forward_hook(lambda _, args, made, unit=unit: self._end(unit, made))
        if all(unit.module is not root for unit in units):
            root.register_forward_hook(lambda *_: self._let_go())

    def _gather(self, unit: Unit) -> None:
        """A unit's weights become whole, by way of a flat buffer, which is left in ``_coming``."""
        self._ask_for(unit)
        if unit not in self._gathered:
            self._gathered[unit] = unit.whole
            self.ledger.take(unit.whole)

    def _ask_for(self, unit: Unit) -> None:
        if unit not in self._coming and unit not in self._gathered:
            self._coming[unit] = unit.whole
            self.ledger.take(unit.whole)
            self.send(unit.whole)

    def _reshard(self, unit: Unit) -> None:
        self.ledger.take(-self._gathered.pop(unit, 0))

    def _let_go(self) -> None:
        """The buffer by which the last unit's weights came in a forward pass is free."""
        self.ledger.take(-self._kept)
        self._kept = 0

    def _begin(self, unit: Unit, args: Any, kwargs: Any) -> Any:
        """A forward pass of a unit begins; one that is made again in backward finds its weights whole."""
        if unit.backward:
            self._gather(unit)
            self.ledger.take(-self._coming.pop(unit, 0))
            return None
        self._ask_for(unit)
        self._let_go()
        self._gather(unit)
        self._kept = self._coming.pop(unit, 0)
        if not is_grad_enabled():
            return None
        named = self._passed(unit, tuple(kwargs.values()))
        return self._passed(unit, args), dict(zip(kwargs, named, strict=True))

    def _passed(self, unit: Unit, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """The same values; when the gradients of those that have any are there, the unit's backward is over."""
        places = [place for place, each in enumerate(values) if isinstance(each, Tensor) and each.requires_grad]
        if not places:
            return values
        passed = list(values)
        made = _Passed.apply(lambda: self._end_backward(unit), *(values[place] for place in places))
        for place, tensor in zip(places, made, strict=True):
            passed[place] = tensor
        return tuple(passed)

    def _end(self, unit: Unit, made: Any) -> None:
        if unit.backward:
            return
        self._reshard(unit)
        self._order.append(unit)
        if unit.module is self.root:
            self._let_go()
        for tensor in _tensors(made):
            if tensor.requires_grad:
                tensor.register_hook(lambda _, unit=unit: self._begin_backward(unit))

    def _begin_backward(self, unit: Unit) -> None:
        """A unit's weights are whole for its backward, and those of the one before it in the last forward pass are asked for."""
        if unit.backward:
            return
        unit.backward = True
        self._gather(unit)
        self.ledger.take(-self._coming.pop(unit, 0))
        before = len(self._order) - 1 - self._order[::-1].index(unit) if unit in self._order else 0
        del self._order[before + 1 :]
        if before:
            self._ask_for(self._order[before - 1])

    def _end_backward(self, unit: Unit) -> None:
        """Its gradients are scattered."""
        self._reshard(unit)
        self.ledger.take(-self._scattered)
        self._scattered = unit.gradients
        self.ledger.take(unit.gradients)
        self.ledger.take(-unit.gradients)
        self.send(unit.gradients)
        unit.gradients = 0
        unit.backward = False

    def backward_is_over(self) -> None:
        """What waited for the end of the pass: units whose inputs had no gradient, and what was asked for in vain."""
        for unit in self.units:
            if unit.backward or unit.gradients:
                self._end_backward(unit)
        self.ledger.take(-self._scattered - sum(self._coming.values()))
        self._scattered = 0
        self._coming.clear()
        self._order.clear()


class _Passed(autograd.Function):
    """Passes tensors on, and tells when their gradients have come."""

    @staticmethod
    def forward(ctx: Any, over: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The same tensors."""
        ctx.over = over
        return tensors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The same gradients."""
        ctx.over()
        return (None, *gradients)


def _tensors(made: Any) -> Iterator[Tensor]:
    """Those that a module returns, by itself, in lists, or by name."""
    values = list(made.values()) if isinstance(made, Mapping) else [made]
    yield from tensors_of(values, {})
