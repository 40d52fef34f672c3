"""The processes that share the tokens of one clip (context parallelism), and how a tensor goes between having all of it and a part.

Every transfer goes back in backward by its adjoint: a gather by a scatter that sums, an exchange by the opposite one. So the gradients of a
process are those of the sum of all processes' losses by its own copy of the weights, and their mean over the processes, which is what
ranks without shared clips take too, is the gradient of the one loss that they all compute. That holds for whatever stands before, between
and behind shared passes: rollouts, modules of a method's own, weights in parts.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, autograd
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

from distill_core.surroundings import Surrounding


class Peers:
    """The processes that share a clip with this one, itself among them, in the order of their ranks.

    Attributes:
        number: the place of this one, from 0.
        count: how many they are.
    """

    def __init__(self, number: int, count: int, group: ProcessGroup | None = None) -> None:
        self.number = number
        self.count = count
        self._group = group

    def own(self, whole: Tensor, dim: int) -> Tensor:
        """This process's part, of equal ones along a dimension, of what all of them have."""
        size = whole.shape[dim] // self.count
        return whole.narrow(dim, self.number * size, size)

    def whole(self, own: Tensor, dim: int) -> Tensor:
        """All parts along a dimension, of which each process has one."""
        gathered: Tensor = _Whole.apply(own, self, dim)
        return gathered

    def exchanged(self, own: Tensor, *, gathered: int, split: int) -> Tensor:
        """All parts along ``gathered``, of which each process has one; along ``split``, of which each has all, the part of this one."""
        exchanged: Tensor = _Exchanged.apply(own, self, gathered, split)
        return exchanged

    # What is sent

    def gather(self, own: Tensor) -> Tensor:
        """What each process has, [count, ...]."""
        found = own.new_empty((self.count, *own.shape))
        dist.all_gather_into_tensor(found.view(-1), own.flatten(), group=self._group)  # gloo takes no further dimension
        return found

    def scatter(self, stacked: Tensor) -> Tensor:
        """Of what each process has for each, [count, ...], the sum of what is for this one."""
        summed = torch.empty_like(stacked[0])
        dist.reduce_scatter_tensor(summed.view(-1), stacked.view(-1), group=self._group)
        return summed

    def send(self, stacked: Tensor) -> Tensor:
        """What each process has for each, [count, ...], to what this one gets of each, [count, ...]."""
        received = torch.empty_like(stacked)
        dist.all_to_all_single(received, stacked, group=self._group)
        return received


class PlayedPeers(Peers):
    """Processes of which the first is played alone: what it gets takes as much room as from others, and means nothing."""

    def gather(self, own: Tensor) -> Tensor:
        """Room for it."""
        return own.new_empty((self.count, *own.shape))

    def scatter(self, stacked: Tensor) -> Tensor:
        """Room for it."""
        return torch.empty_like(stacked[0])

    def send(self, stacked: Tensor) -> Tensor:
        """Room for it."""
        return torch.empty_like(stacked)


class _Whole(autograd.Function):
    """``Peers.whole``."""

    # ``Any``: torch types neither the context nor what backward answers.

    @staticmethod
    def forward(ctx: Any, own: Tensor, peers: Peers, dim: int) -> Tensor:
        """Gather."""
        ctx.peers, ctx.dim = peers, dim
        return torch.cat(peers.gather(own).unbind(), dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Scatter the sums."""
        (gradient,) = gradients
        return ctx.peers.scatter(torch.stack(gradient.chunk(ctx.peers.count, ctx.dim))), None, None


class _Exchanged(autograd.Function):
    """``Peers.exchanged``."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, peers: Peers, gathered: int, split: int) -> Tensor:
        """Send each process its part, and put theirs together."""
        ctx.peers, ctx.gathered, ctx.split = peers, gathered, split
        return _exchanged(own, peers, gathered, split)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The other way."""
        (gradient,) = gradients
        return _exchanged(gradient, ctx.peers, ctx.split, ctx.gathered), None, None, None


def _exchanged(own: Tensor, peers: Peers, gathered: int, split: int) -> Tensor:
    return torch.cat(peers.send(torch.stack(own.chunk(peers.count, split))).unbind(), gathered)


_sharing: Surrounding[Peers | None] = Surrounding(None)


def sharing(peers: Peers | None) -> AbstractContextManager[None]:
    """Inside, predictions, and what is computed again of them in backward, share the tokens of a clip; None: they have them alone."""
    return _sharing.being(peers)


def sharers() -> Peers | None:
    """Who shares the clips of the prediction that is going on; None where it has them alone."""
    return _sharing.value
