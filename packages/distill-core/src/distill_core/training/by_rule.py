"""What the libraries hold weights and moments in, as far as sizes go: for runs that are planned, which need neither library nor weights.

torchao's int8 and fp8 make a weight of the run's precision of what they hold, which a graph keeps; bitsandbytes' nf4 makes it twice, and
keeps none. Tests hold the sizes to those of the libraries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

NF4_BLOCK, NF4_OUTER = 64, 256
"""Weights that share a scale of nf4, and scales that share one."""
MOMENT_BLOCK, SMALLEST_MOMENTS = 256, 4096
"""Moments that share a scale of adamw8bit, and how many a weight must have not to be left in fp32."""
_MAP = 256
"""Numbers that 8 bits tell apart, each held in fp32."""


def held_by_rule(kind: str, outputs: int, inputs: int) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """The shapes and dtypes of what a weight [outputs, inputs] is held in."""
    weights, row = outputs * inputs, (outputs, 1)
    match kind:
        case "int8":
            return {
                "codes": ((outputs, inputs), torch.int8),
                "scale": (row, torch.float32),
                "zero": (row, torch.int8),
            }
        case "fp8":
            return {"codes": ((outputs, inputs), torch.float8_e4m3fn), "scale": (row, torch.float32)}
        case _:
            scales = weights // NF4_BLOCK
            return {
                "codes": ((weights // 2, 1), torch.uint8),
                "scale": ((scales,), torch.uint8),
                "map": ((16,), torch.float32),
                "outer_scale": ((-(-scales // NF4_OUTER),), torch.float32),
                "outer_map": ((_MAP,), torch.float32),
                "offset": ((), torch.float32),
            }


class HeldByRule(nn.Linear):
    """A linear layer that takes the bytes of one in fewer bits. Its numbers mean nothing."""

    def __init__(self, layer: nn.Linear, kind: str) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.kind = layer.in_features, layer.out_features, kind
        device, self.made = layer.weight.device, layer.weight.dtype
        held = {
            name: nn.Parameter(torch.empty(shape, dtype=dtype, device=device), requires_grad=False)
            for name, (shape, dtype) in held_by_rule(kind, self.out_features, self.in_features).items()
        }
        self.weight = held.pop("codes")
        for name, parameter in held.items():
            self.register_parameter(name, parameter)
        bias: Tensor | None = layer.bias
        if bias is not None and kind == "nf4":
            bias = nn.Parameter(bias.detach().float(), requires_grad=False)  # as the library's layer has it
        self.register_parameter("bias", bias if bias is None else nn.Parameter(bias.detach(), requires_grad=False))

    @property
    def parameters_meant(self) -> int:
        """How many weights it stands for."""
        return self.out_features * self.in_features + (0 if self.bias is None else self.bias.numel())

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if self.kind != "nf4":
            return functional.linear(x, self.weight.to(self.made), bias)
        product: Tensor = _MadeTwice.apply(x, self.weight, (self.out_features, self.in_features))
        return product if bias is None else product + bias


class _MadeTwice(torch.autograd.Function):
    """A product with a weight that is made of its codes, in backward again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, shape: tuple[int, int]) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        ctx.codes, ctx.shape = codes, shape
        return functional.linear(x, codes.new_empty(shape, dtype=x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of x."""
        (gradient,) = gradients
        return gradient @ ctx.codes.new_empty(ctx.shape, dtype=gradient.dtype), None, None


def moments_by_rule(parameter: Tensor) -> dict[str, Tensor]:
    """adamw8bit's state of a weight."""
    state = {"step": torch.zeros((), dtype=torch.float32, device=parameter.device)}
    for name in ("exp_avg", "exp_avg_sq"):
        if parameter.numel() < SMALLEST_MOMENTS or parameter.numel() % MOMENT_BLOCK:
            state[name] = torch.zeros_like(parameter)
            continue
        state[f"{name}.codes"] = torch.zeros_like(parameter, dtype=torch.uint8)
        state[f"{name}.scale"] = parameter.new_zeros(parameter.numel() // MOMENT_BLOCK, dtype=torch.float32)
        state[f"{name}.map"] = parameter.new_zeros(_MAP, dtype=torch.float32)
    return state


class EightBitByRule(torch.optim.Optimizer):
    """An optimizer that holds the bytes of adamw8bit, and updates nothing."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": torch.zeros(())})
        for parameter in parameters:
            self.state[parameter] = moments_by_rule(parameter.detach())

    def step(self, closure: Any = None) -> Any:
        """Nothing. The signature is torch's."""


def sizes_by_rule(held: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> int:
    """Bytes of shapes and dtypes."""
    return sum(torch.Size(shape).numel() * dtype.itemsize for shape, dtype in held.values())
