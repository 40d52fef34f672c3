"""What the ranks of a run do together in a training step: one mean of gradients, one verdict. Alone nothing of it is done.

Each rank has an equal share of a batch's rows, and a loss is a mean over rows: so the mean of the ranks' gradients is the gradient of the
whole batch. Gradients are brought together once a step, after its last micro-step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from distill_core.ranks.ranks import Ranks
from distill_core.training.optimization import RoleOptimizer
from distill_core.training.parts import part, parts, sharded
from distill_core.training.roles import RoleHandle

BUCKET = 64 * 2**20
"""Elements that are sent at a time, at most, unless a single parameter has more."""


class Reduction:
    """Of the ranks of one run."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def agree(
        self, optimizers: Mapping[str, RoleOptimizer], said: Sequence[int]
    ) -> tuple[list[int], list[nn.Parameter]]:
        """By the host: the most that any rank said, number by number, and which parameters have a gradient anywhere."""
        parameters = [parameter for each in optimizers.values() for parameter in each.parameters.values()]
        most = self.ranks.most([*said, *(int(parameter.grad is not None) for parameter in parameters)])
        anywhere = most[len(said) :]
        return most[: len(said)], [parameter for parameter, flag in zip(parameters, anywhere, strict=True) if flag]

    def settle(
        self, optimizers: Mapping[str, RoleOptimizer], parameters: Sequence[nn.Parameter], poison: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients become their means over the ranks. Returns the norm of each role's, and the sum of all ranks' ``poison``: a scalar that
        travels with what is sent anyway.

        Of weights in parts FSDP2 has made the mean over the ranks that share them already; what is left are the replicas.
        """
        held = [parameter for parameter in parameters if sharded(parameter)]
        whole = [parameter for parameter in parameters if not sharded(parameter)]
        if not held:
            poison = self._average(whole, poison)
            return {name: optimizer.norm() for name, optimizer in optimizers.items()}, poison
        if self.ranks.layout.replicate > 1:
            self._average(held, None)
        self._average(whole, None)
        return self._norms(optimizers, poison)

    def _average(self, parameters: Sequence[nn.Parameter], rider: Tensor | None) -> Tensor:
        """Means over all ranks, or over the replicas for weights in parts. The ``rider`` comes back as a sum."""
        riding = torch.zeros(0) if rider is None else rider.reshape(1)
        if not parameters and rider is not None:
            self.ranks.sum_(riding)
        for bucket in buckets(parameters):
            gradients, among = parts(_gradient(each) for each in bucket), sharded(bucket[0])
            flat = torch.cat([riding.to(gradients[0]), *(gradient.flatten() for gradient in gradients)])
            self.ranks.sum_(flat, replicas=among)
            back, *means = flat.split([len(riding), *(gradient.numel() for gradient in gradients)])
            riding = riding[:0]
            rider = back if len(back) else rider
            count = self.ranks.layout.replicate if among else self.ranks.size
            for gradient, mean in zip(gradients, means, strict=True):
                gradient.copy_(mean.view_as(gradient) / count)
        return torch.zeros(()) if rider is None else rider.reshape(())

    def _norms(self, optimizers: Mapping[str, RoleOptimizer], poison: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The norms of gradients of which each rank has a part, with one reduction for all roles."""
        squares = []
        for optimizer in optimizers.values():
            gradients = [each.grad for each in optimizer.parameters.values() if each.grad is not None]
            for share, some in (
                (self.ranks.layout.replicate, [part(each) for each in gradients if sharded(each)]),
                (self.ranks.size, [each for each in gradients if not sharded(each)]),
            ):
                squares.append(nn.utils.get_total_norm(some, foreach=True).to(poison) ** 2 / share)
        summed = torch.stack([*squares, poison])
        self.ranks.sum_(summed)
        *squares, poison = summed.unbind()
        norms = [(held + whole).sqrt() for held, whole in zip(squares[::2], squares[1::2], strict=True)]
        return dict(zip(optimizers, norms, strict=True)), poison

    @torch.no_grad()
    def average_buffers(self, roles: Mapping[str, RoleHandle]) -> None:
        """Buffers that training moves, e.g. a running mean of what a rank's rows gave, become their means over the ranks."""
        buffers = [role.own.get_buffer(name) for role in roles.values() for name in role.moving_buffers]
        if buffers:
            flat = torch.cat([buffer.flatten() for buffer in buffers])
            self.ranks.sum_(flat)
            means = flat.split([buffer.numel() for buffer in buffers])
            for buffer, mean in zip(buffers, means, strict=True):
                buffer.copy_(mean.view_as(buffer) / self.ranks.size)


@torch.no_grad()
def _gradient(parameter: nn.Parameter) -> Tensor:
    """A parameter's gradient; zeros where this rank's rows gave it none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters of one dtype and device, so many at a time."""
    kinds: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    for parameter in parameters:
        kinds.setdefault((parameter.dtype, parameter.device), []).append(parameter)
    for kind in kinds.values():
        bucket: list[nn.Parameter] = []
        for parameter in kind:
            if bucket and sum(each.numel() for each in bucket) + parameter.numel() > BUCKET:
                yield bucket
                bucket = []
            bucket.append(parameter)
        yield bucket
