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

BUCKET = 64 * 2**20
"""Elements that are sent at a time, at most, unless a single parameter has more."""


class Reduction:
    """Of the ranks of one run."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def agree(self, optimizers: Mapping[str, RoleOptimizer], asked: int) -> tuple[int, list[list[bool]]]:
        """By way of the host: the signal that any rank was asked to leave by, and which parameters have a gradient anywhere."""
        own = [[parameter.grad is not None for parameter in each.parameters.values()] for each in optimizers.values()]
        signal, *flags = self.ranks.most([asked, *(int(flag) for role in own for flag in role)])
        found = iter(flags)
        return signal, [[bool(next(found)) for _ in role] for role in own]

    def average(self, optimizers: Mapping[str, RoleOptimizer], anywhere: Sequence[Sequence[bool]], lost: Tensor) -> Tensor:
        """Gradients become their means over the ranks. Returns ``lost``, a scalar that is not 0 here if something broke here, summed."""
        parameters = [
            parameter
            for optimizer, flags in zip(optimizers.values(), anywhere, strict=True)
            for parameter, flag in zip(optimizer.parameters.values(), flags, strict=True)
            if flag
        ]
        for bucket in _buckets(parameters):
            gradients = [_gradient(parameter) for parameter in bucket]
            flat = torch.cat([lost.reshape(1).to(gradients[0].dtype), *(gradient.flatten() for gradient in gradients)])
            self.ranks.sum_(flat)
            lost, *means = flat.split([1, *(gradient.numel() for gradient in gradients)])
            for gradient, mean in zip(gradients, means, strict=True):
                gradient.copy_(mean.view_as(gradient) / self.ranks.size)
        return lost


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
