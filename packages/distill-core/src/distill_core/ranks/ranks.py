"""The processes of a run as each of them sees the others. A run of one process pays nothing: :data:`ALONE` passes everything through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh

from distill_core.ranks.layout import Layout
from distill_core.ranks.peers import Peers

ValueT = TypeVar("ValueT")


class Ranks:
    """The only process of a run, and what each of several can do; see :class:`distill_core.ranks.joined.JoinedRanks`.

    What is said here to happen on every rank has to be called on every rank, in the same order.

    Attributes:
        rank: the number of this process, from 0. The first one writes; the others compute.
        size: how many there are.
        layout: how they hold the models.
    """

    rank: int = 0
    size: int = 1
    layout: Layout = Layout()

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    @property
    def groups(self) -> int:
        """How many parts each batch has: ranks, or groups of those that share their clips' tokens."""
        return self.size // self.layout.context

    @property
    def group_number(self) -> int:
        """Which of these parts is this rank's, from 0."""
        return self.rank // self.layout.context

    @property
    def peers(self) -> Peers | None:
        """The ranks that share the tokens of a clip with this one; None if it has its clips alone."""
        return None

    def gather(self, value: ValueT) -> list[ValueT]:
        """The value of each rank, in their order, on every rank."""
        return [value]

    def to_first(self, value: ValueT) -> list[ValueT]:
        """The value of each rank, in their order, on the first one; nothing on the others."""
        return [value]

    def from_first(self, make: Callable[[], ValueT]) -> ValueT:
        """What the first rank makes, on every rank; the others wait for it."""
        return make()

    def most(self, numbers: Sequence[int]) -> list[int]:
        """The largest of each of the numbers over all ranks, on every rank; by way of the host."""
        return list(numbers)

    def anywhere(self, flags: Sequence[bool]) -> list[bool]:
        """Whether each of the flags is true on any rank, on every rank; by way of the host."""
        return list(flags)

    def sum_(self, tensor: Tensor, *, replicas: bool = False) -> None:
        """Add up a tensor over all ranks, or over the replicas of what this rank holds, in place, where it lies."""

    @property
    def group(self) -> ProcessGroup | None:
        """Whose collectives these are, for code of torch's that makes some of its own; None is all processes of the run."""
        return None

    def second(self) -> Ranks:
        """The same processes on a line of its own, for one more thread of each: what it says does not get between what this one says.

        Every rank has to ask for it at the same place.
        """
        return self

    @property
    def mesh(self) -> DeviceMesh | None:
        """The ranks that a model's weights are spread over, this one among them; None if it is whole on each."""
        return None

    def meet(self) -> None:
        """Wait until every rank is here."""

    def at(self, step: int) -> None:
        """Note how far this rank is, for those who wait for it in vain."""

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Inside, whatever ends this rank is told to the others, and what ends because another rank did says so."""
        yield


ALONE = Ranks()
"""The ranks of a run of one process."""
