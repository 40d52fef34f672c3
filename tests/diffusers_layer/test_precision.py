"""What a forward pass keeps in memory in a narrow dtype."""

from __future__ import annotations

from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from distill_diffusers.precision import forward_precision

CPU = torch.device("cpu")


class NarrowCopies(TorchDispatchMode):
    """The copies in bfloat16 that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: WeakSet[Tensor] = WeakSet()
        self.made = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and result.dtype == torch.bfloat16 and result.ndim == 2:
            self.alive.add(result)
            self.made += result.shape == (8, 8)
        return result


def test_a_pass_without_a_graph_keeps_no_narrow_copy_of_the_weights() -> None:
    layers = nn.Sequential(*(nn.Linear(8, 8) for _ in range(6)))
    with NarrowCopies() as copies, torch.no_grad(), forward_precision(CPU, torch.bfloat16):
        layers(torch.randn(3, 8))
        weights = [copy for copy in copies.alive if copy.shape == (8, 8)]
        assert copies.made == 6
        assert weights == []


def test_layers_compute_in_the_dtype_that_is_asked_for() -> None:
    layer, x = nn.Linear(8, 8), torch.randn(3, 8)
    for dtype in (torch.float32, torch.bfloat16):
        with forward_precision(CPU, dtype):
            assert layer(x).dtype == dtype
