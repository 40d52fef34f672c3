"""A role as what a walk follows: its guided velocity for one condition, and its modules in the mode for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from distill_core.protocols.condition import Condition
from distill_core.protocols.prediction import Ask, Stream
from distill_core.protocols.role import Role
from distill_core.protocols.validator import ValidationRequest

Combine = Callable[[Tensor, Tensor, float], Tensor]
"""(cond, uncond, s), velocities [B, T, C, H, W], to the guided velocity."""


def led_away(cond_BTCHW: Tensor, uncond_BTCHW: Tensor, scale: float) -> Tensor:
    """uncond + s · (cond - uncond)."""
    return uncond_BTCHW + scale * (cond_BTCHW - uncond_BTCHW)


class GuidedVelocity:
    """uncond + s · (cond - uncond), as a request says, on the stream of what it remembers; counts the denoiser's evaluations.

    Timesteps are of one sample, [1].
    """

    def __init__(
        self,
        role: Role,
        request: ValidationRequest,
        condition: Condition,
        negative: Condition | None = None,
        boundary: float | None = None,
        combine: Combine = led_away,
    ) -> None:
        """``negative``: the request's negative prompt; None for the role's own. ``boundary``: below it denoises a second expert.
        ``combine``: how the family's pipeline guides.
        """
        self.role = role
        self.request = request
        self.negative = negative
        self.boundary = boundary
        self.evaluations = 0
        self._combine = combine
        self._conditions = [condition]
        self._streams: list[Stream | None] = [None, None]

    def __call__(self, noisy_BTCHW: Tensor, timestep_B: Tensor, until_B: Tensor | None = None) -> Tensor:
        """The guided velocity, [B, T, C, H, W], with ``until_B`` the mean velocity to that timestep; s = 1 takes one evaluation, any
        other two."""
        scale = self._scale(timestep_B)
        cond = self._predicted(0, noisy_BTCHW, timestep_B, until_B)
        if scale == 1.0:
            return cond
        uncond = self._predicted(1, noisy_BTCHW, timestep_B, until_B)
        return self._combine(cond, uncond, scale)

    def remember(self, x0_BTCHW: Tensor) -> None:
        """Go on from these frames, which are clean: under each condition that is predicted under, by each expert."""
        timestep_B = torch.zeros(len(x0_BTCHW), dtype=torch.float64)
        for side in (0, 1) if self._guided else (0,):
            self.evaluations += len(self.role.modules)
            ask = replace(self._ask(side), store=True, window=self.request.window, sink=self.request.sink)
            self._streams[side] = self.role.predict(x0_BTCHW, timestep_B, self._condition(side), ask).stream

    @property
    def _guided(self) -> bool:
        """Whether any expert is led away from the negative condition."""
        low_noise = None if self.boundary is None else self.request.low_noise_guidance_scale
        return bool({self.request.guidance_scale, low_noise} - {1.0, None})

    def _scale(self, timestep_B: Tensor) -> float:
        """s of the expert that denoises here."""
        scale, low_noise = self.request.guidance_scale, self.request.low_noise_guidance_scale
        assert scale is not None
        if self.boundary is None or low_noise is None:
            return scale
        return scale if float(timestep_B.max()) >= self.boundary else low_noise

    def _condition(self, side: int) -> Condition:
        """What is shown, or what guidance leads away from."""
        if side == len(self._conditions):
            negative = self.role.unconditional(self._conditions[0]) if self.negative is None else self.negative
            self._conditions.append(negative)
        return self._conditions[side]

    def _ask(self, side: int) -> Ask:
        return Ask(self.request.attn_kind, self.request.sparsity, stream=self._streams[side])

    def _predicted(self, side: int, noisy_BTCHW: Tensor, timestep_B: Tensor, until_B: Tensor | None) -> Tensor:
        self.evaluations += 1
        ask = replace(self._ask(side), until=until_B)
        return self.role.predict_velocity(noisy_BTCHW, timestep_B, self._condition(side), ask)


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
