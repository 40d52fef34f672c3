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
    """uncond + s · (cond - uncond), as a request says; counts the denoiser's evaluations. Timesteps are of one sample, [1]."""

    def __init__(
        self,
        role: Role,
        request: ValidationRequest,
        condition: Condition,
        negative: Condition | None = None,
        boundary: float | None = None,
    ) -> None:
        """``negative``: the request's negative prompt; None for the role's own. ``boundary``: below it denoises a second expert."""
        self.role = role
        self.request = request
        self.condition = condition
        self.negative = negative
        self.boundary = boundary
        self.evaluations = 0

    def __call__(self, noisy_BTCHW: Tensor, timestep_B: Tensor) -> Tensor:
        """The guided velocity, [B, T, C, H, W]; s = 1 takes one evaluation, any other two."""
        scale = self._scale(timestep_B)
        cond = self._predicted(noisy_BTCHW, timestep_B, self.condition)
        if scale == 1.0:
            return cond
        negative = self.role.unconditional(self.condition) if self.negative is None else self.negative
        uncond = self._predicted(noisy_BTCHW, timestep_B, negative)
        return uncond + scale * (cond - uncond)

    def _scale(self, timestep_B: Tensor) -> float:
        """s of the expert that denoises here."""
        scale, low_noise = self.request.guidance_scale, self.request.low_noise_guidance_scale
        assert scale is not None
        if self.boundary is None or low_noise is None:
            return scale
        return scale if float(timestep_B.max()) >= self.boundary else low_noise

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
