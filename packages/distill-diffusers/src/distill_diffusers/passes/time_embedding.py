"""A denoiser's time embedding: in float32, and of a second time where a role has one.

B batch, T latent frames, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.embeddings import TimestepEmbedding
from torch import Tensor, nn

from distill_core.surroundings import Surrounding
from distill_core.transfer import onto_device

_ahead: Surrounding[Tensor | None] = Surrounding(None)


class SecondTime(nn.Module):
    """What the embedding of t adds for a second time r: a function of t - r, 0 at birth, so that a role begins as it was.

    Its first layer begins as that of the time embedding, whose features it shares; its second begins with zeros.
    """

    def __init__(self, linear_1: nn.Module, act: nn.Module, linear_2: nn.Module) -> None:
        super().__init__()
        self.linear_1, self.act, self.linear_2 = deepcopy(linear_1), act, deepcopy(linear_2)
        for parameter in self.linear_2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """Sinusoidal features of t - r, [B, features] or [B, T, features], to [B, D] or [B, T, D]."""
        embedded: Tensor = self.linear_2(self.act(self.linear_1(features)))
        return embedded


class Float32TimeEmbedding(nn.Module):
    """The time embedding, in float32 under autocast too, for families that keep these weights in float32 whatever their other dtype.

    Takes over the layers of diffusers' TimestepEmbedding under their own names; ``second`` is there for roles that are asked "until".
    """

    def __init__(self, plain: TimestepEmbedding, *, second_time: bool = False) -> None:
        super().__init__()
        self.linear_1, self.act, self.linear_2 = plain.linear_1, plain.act, plain.linear_2
        self.second = SecondTime(self.linear_1, self.act, self.linear_2) if second_time else None

    def forward(self, features: Tensor) -> Tensor:
        """Sinusoidal features [B, features] or [B, T, features] to [B, D] or [B, T, D]."""
        with torch.autocast(features.device.type, enabled=False):
            embedded: Tensor = self.linear_2(self.act(self.linear_1(features)))
            ahead = _ahead.value
            if self.second is not None and ahead is not None:
                embedded = embedded + self.second(ahead.type_as(features))
        return embedded


@dataclass(frozen=True)
class Times:
    """Where a denoiser embeds its timestep.

    Attributes:
        within: the module that holds both.
        embedder: its TimestepEmbedding.
        features: what makes sinusoidal features of timesteps [B].
    """

    within: str
    embedder: str
    features: str

    def prepare(self, denoiser: nn.Module, *, second_time: bool) -> None:
        """Let a denoiser embed its time in float32 and, if it shall, a second one."""
        within: Any = denoiser.get_submodule(self.within)
        plain: Any = within.get_submodule(self.embedder)
        within.set_submodule(self.embedder, Float32TimeEmbedding(plain, second_time=second_time))

    def has_second(self, denoiser: nn.Module) -> bool:
        """Whether a denoiser was loaded with a second time."""
        embedding = denoiser.get_submodule(self.within).get_submodule(self.embedder)
        return isinstance(embedding, Float32TimeEmbedding) and embedding.second is not None

    @contextmanager
    def second(
        self, denoiser: nn.Module, timestep: Tensor, until: Tensor | None, device: torch.device
    ) -> Iterator[None]:
        """Inside, the time embedding knows the second time, shaped like ``timestep``, [B] or [B, T].

        The difference is taken in their dtype. None is the time itself: a velocity is the mean velocity over no time. A denoiser without a
        second time is left alone.
        """
        if not self.has_second(denoiser):
            yield
            return
        ahead = torch.zeros_like(timestep) if until is None else timestep - until
        features = denoiser.get_submodule(self.within).get_submodule(self.features)(
            onto_device(ahead.flatten(), device)
        )
        with _ahead.being(features.unflatten(0, ahead.shape)):
            yield
