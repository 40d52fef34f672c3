"""What some work costs where no clock is asked: operations, floating-point operations, and the bytes that graphs hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

NO_WORK = {
    "alias", "detach", "empty", "empty_like", "expand", "lift_fresh", "permute", "promote_types", "select", "slice", "split", "squeeze",
    "t", "transpose", "unbind", "unsqueeze", "view", "_unsafe_view", "as_strided",
}  # fmt: skip
"""Operations that make a view, or room, and run nothing."""


class Ops(TorchDispatchMode):
    """Counts the operations that run something, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.name().partition(".")[0]
        if name.startswith("aten::") and name.removeprefix("aten::") not in NO_WORK:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def ops_of(work: Callable[[], object]) -> Counter[str]:
    """The operations of some work."""
    with Ops() as ops:
        work()
    return ops.counts


def flops_of(work: Callable[[], object]) -> int:
    """The floating-point operations of some work."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


class Saved:
    """The most bytes that graphs held for backward at once, parameters apart."""

    def __init__(self, parameters: Iterator[nn.Parameter]) -> None:
        self._own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
        self._alive: WeakSet[Tensor] = WeakSet()
        self.most = 0

    def _pack(self, tensor: Tensor) -> Tensor:
        held = tensor.detach()
        self._alive.add(held)
        storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in self._alive}
        self.most = max(self.most, sum(size for pointer, size in storages.items() if pointer not in self._own))
        return held

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, what is saved is counted."""
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda held: held):
            yield
