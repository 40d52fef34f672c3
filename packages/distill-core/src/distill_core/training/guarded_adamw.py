"""AdamW by torch's fused kernel, kept from a step that is broken by a flag on the device, without the host's knowing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from distill_core.config.schema import Optimization


@dataclass(frozen=True, eq=False)
class Flag:
    """Whether a step is broken, known on the device alone.

    Attributes:
        broken: 1 if it must not be applied, 0 if it may: a float32 scalar.
    """

    broken: Tensor

    @cached_property
    def applied(self) -> Tensor:
        """1 if it may be applied, 0 if not; made once for all whom it concerns."""
        return 1.0 - self.broken


class _Moving(NamedTuple):
    """A weight and its state: the tensors that an update changes."""

    weight: nn.Parameter
    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor


class GuardedAdamW(torch.optim.AdamW):
    """AdamW of one role, whose :meth:`update` gives the bits of torch's ``step`` in a fraction of its time on the host.

    torch's collects the weights and their state in each step; here that is done once. The state exists from the start: equal numbers, but
    a checkpoint before the first update can count on it.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], settings: Optimization) -> None:
        super().__init__(
            parameters,
            lr=settings.learning_rate,
            betas=settings.betas,
            eps=settings.adam_epsilon,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._kinds: dict[torch.dtype, list[_Moving]] = {}
        for parameter in parameters:
            step = torch.zeros((), dtype=torch.float32, device=parameter.device)
            exp_avg, exp_avg_sq = (torch.zeros_like(parameter, memory_format=torch.preserve_format) for _ in range(2))
            self.state[parameter] = {"step": step, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
            self._kinds.setdefault(parameter.dtype, []).append(_Moving(parameter, exp_avg, exp_avg_sq, step))

    @torch.no_grad()
    def update(self, rate: float, flag: Flag | None) -> None:
        """Move every weight that has a gradient; where the step is broken, weights and state stay bitwise as they are."""
        (group,) = self.param_groups
        group["lr"] = rate
        beta1, beta2 = group["betas"]
        for kind in self._kinds.values():
            moving = [(*each, gradient) for each in kind if (gradient := each.weight.grad) is not None]
            if not moving:
                continue
            weights, exp_avgs, exp_avg_sqs, steps, gradients = zip(*moving, strict=True)
            torch._foreach_add_(
                steps, 1.0 if flag is None else [flag.applied] * len(steps)
            )  # of a tensor alone the host would wait
            torch._fused_adamw_(
                weights,
                gradients,
                exp_avgs,
                exp_avg_sqs,
                [],
                steps,
                lr=rate,
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
                found_inf=None if flag is None else flag.broken,
            )
