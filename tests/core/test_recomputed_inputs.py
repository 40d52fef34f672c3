"""A block that is recomputed is given what it was given, by place and by name."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core.training.recompute import recomputed


def test_named_inputs_are_given_again_and_have_gradients() -> None:
    weight, seen = torch.tensor([2.0, 3.0], requires_grad=True), list[float]()

    def block(x: Tensor, *, scale: Tensor, by: float) -> Tensor:
        """w · x · s · by, which notes each time that it is computed."""
        seen.append(by)
        return weight * x * scale * by

    scale = torch.tensor(5.0, requires_grad=True)
    made = recomputed(block, torch.tensor([1.0, 2.0]), scale=scale, by=10.0)
    assert made.tolist() == [100.0, 300.0]
    made.sum().backward()
    assert seen == [10.0, 10.0]
    assert weight.grad is not None
    assert weight.grad.tolist() == [50.0, 100.0]
    assert scale.grad is not None
    assert scale.grad.item() == 80.0
