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
from distill_core.training.roles import RoleHandle

BUCKET = 64 * 2**20
"""Elements that are sent at a time, at most, unless a single parameter has more."""


class Reduction:
    """Of the ranks of one run."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def agree(self, optimizers: Mapping[str, RoleOptimizer], asked: int) -> tuple[int, list[nn.Parameter]]:
        """By the host: the signal that any rank was asked to leave by, 0 for none, and which parameters have a gradient anywhere."""
        parameters = [parameter for each in optimizers.values() for parameter in each.parameters.values()]
        signal, *anywhere = self.ranks.most([asked, *(int(parameter.grad is not None) for parameter in parameters)])
        return signal, [parameter for parameter, flag in zip(parameters, anywhere, strict=True) if flag]

    def average(self, parameters: Sequence[nn.Parameter], poison: Tensor) -> Tensor:
        """Gradients become their means over the ranks. Returns the sum of all ranks' ``poison``, a scalar that travels with them."""
        rider = poison.reshape(1)
        if not parameters:
            self.ranks.sum_(rider)
        for bucket in _buckets(parameters):
            gradients = [_gradient(parameter) for parameter in bucket]
            flat = torch.cat([rider.to(gradients[0].dtype), *(gradient.flatten() for gradient in gradients)])
            self.ranks.sum_(flat)
            rider, *means = flat.split([1, *(gradient.numel() for gradient in gradients)])
            for gradient, mean in zip(gradients, means, strict=True):
                gradient.copy_(mean.view_as(gradient) / self.ranks.size)
        return rider.reshape(())

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


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
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
