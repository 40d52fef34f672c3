"""What tests of causal predictions share: a role for them, its noisy latents, timesteps block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distill_core.protocols import Ask, Prediction, Stream
from distill_core.training.roles import RoleHandle
from distill_model_wan.text import WanText

Draw = Callable[..., Tensor]
CAUSAL = frozenset({"predict", "blocks", "clean", "stream", "frame_timesteps"})
FRAMES, SIZE = 6, 2


def float64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def of_blocks(*values: float) -> Tensor:
    """Two samples' timesteps of each frame, one value per block; the second sample's are a little lower."""
    first = [value for value in values for _ in range(SIZE)]
    return float64([first, [0.97 * value for value in first]])


class Case:
    """A role for causal predictions, a caption, and noisy latents of two samples and six frames."""

    def __init__(self, role: RoleHandle, text: WanText, noisy: Tensor) -> None:
        self.role = role
        self.text = text
        self.noisy = noisy

    def predict(self, noisy: Tensor, timestep: Tensor, **ask: Any) -> Prediction:
        return self.role.predict(noisy, timestep, self.text, Ask(**ask))

    def streamed(self, timestep_BT: Tensor, **ask: Any) -> tuple[Tensor, Stream]:
        """Block by block, each on the stream of those before."""
        stream, velocities = None, []
        for start in range(0, FRAMES, SIZE):
            own = slice(start, start + SIZE)
            made = self.predict(self.noisy[:, own], timestep_BT[:, own], stream=stream, store=True, **ask)
            stream = made.stream
            velocities.append(made.velocity)
        assert stream is not None
        return torch.cat(velocities, dim=1), stream
