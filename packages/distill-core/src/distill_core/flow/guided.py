"""A role as what a walk follows: its guided velocity for one condition, and its modules in the mode for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from distill_core.protocols.condition import Condition
from distill_core.protocols.prediction import Ask
from distill_core.protocols.role import Role
from distill_core.protocols.validator import ValidationRequest


class GuidedVelocity:
    """uncond + s · (cond - uncond), as a request says; counts the denoiser's evaluations."""

    def __init__(self, role: Role, request: ValidationRequest, condition: Condition) -> None:
        self.role = role
        self.request = request
        self.condition = condition
        self.evaluations = 0

    def __call__(self, noisy_BTCHW: Tensor, timestep_B: Tensor) -> Tensor:
        """The guided velocity, [B, T, C, H, W]; s = 1 takes one evaluation, any other two."""
        scale = self.request.guidance_scale
        assert scale is not None
        cond = self._predicted(noisy_BTCHW, timestep_B, self.condition)
        if scale == 1.0:
            return cond
        uncond = self._predicted(noisy_BTCHW, timestep_B, self.role.unconditional(self.condition))
        return uncond + scale * (cond - uncond)

    def _predicted(self, noisy_BTCHW: Tensor, timestep_B: Tensor, condition: Condition) -> Tensor:
        self.evaluations += 1
        ask = Ask(self.request.attn_kind, self.request.sparsity)
        return self.role.predict_velocity(noisy_BTCHW, timestep_B, condition, ask)


@contextmanager
def evaluating(modules: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside, the modules are in eval mode; each goes back to its own mode on leaving."""
    training = {module: module.training for root in modules.values() for module in root.modules()}
    for root in modules.values():
        root.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
