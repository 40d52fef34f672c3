"""The transformer's time embedding: in float32, of each sample or of each frame, and of a second time where a role has one.

B batch, T latent frames, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from typing import Any

import torch
from diffusers.models.embeddings import TimestepEmbedding
from torch import Tensor, nn

from distill_core.transfer import onto_device

_ahead: ContextVar[Tensor | None] = ContextVar("second_time", default=None)


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
        """Sinusoidal features of t - r, [B, freq_dim] or [B, T, freq_dim], to [B, D] or [B, T, D]."""
        embedded: Tensor = self.linear_2(self.act(self.linear_1(features)))
        return embedded


class Float32TimeEmbedding(nn.Module):
    """The time embedding, in float32 under autocast too: Wan keeps these weights in float32 whatever its other dtype.

    Takes over the layers of diffusers' TimestepEmbedding under their own names; ``second`` is there for roles that are asked "until".
    """

    def __init__(self, plain: TimestepEmbedding, *, second_time: bool = False) -> None:
        super().__init__()
        self.linear_1, self.act, self.linear_2 = plain.linear_1, plain.act, plain.linear_2
        self.second = SecondTime(self.linear_1, self.act, self.linear_2) if second_time else None

    def forward(self, features: Tensor) -> Tensor:
        """Sinusoidal features [B, freq_dim] or [B, T, freq_dim] to [B, D] or [B, T, D]."""
        with torch.autocast(features.device.type, enabled=False):
            embedded: Tensor = self.linear_2(self.act(self.linear_1(features)))
            ahead = _ahead.get()
            if self.second is not None and ahead is not None:
                embedded = embedded + self.second(ahead.type_as(features))
        return embedded


def has_second_time(transformer: Any) -> bool:
    """Whether a transformer was loaded with a second time."""
    embedding = transformer.condition_embedder.time_embedder
    return isinstance(embedding, Float32TimeEmbedding) and embedding.second is not None


@contextmanager
def second_time(transformer: Any, timestep: Tensor, until: Tensor | None, device: torch.device) -> Iterator[None]:
    """Inside, the time embedding knows the second time, shaped like ``timestep``, [B] or [B, T]; the difference is taken in their dtype.

    None is the time itself: a velocity is the mean velocity over no time. A transformer without a second time is left alone.
    """
    if not has_second_time(transformer):
        yield
        return
    ahead = torch.zeros_like(timestep) if until is None else timestep - until
    features = transformer.condition_embedder.timesteps_proj(onto_device(ahead.flatten(), device))
    token = _ahead.set(features.unflatten(0, ahead.shape))
    try:
        yield
    finally:
        _ahead.reset(token)


@contextmanager
def of_frames(transformer: Any, timestep: Tensor, per_frame: int) -> Iterator[None]:
    """Inside, embeddings of timesteps [B, T] are spread over the frames' tokens, [B, N]; those of [B] are left alone.

    A time of each token would cost the embedding's layers as many times over as a frame has tokens.
    """
    if timestep.ndim == 1:
        yield
        return

    def spread(_: nn.Module, __: object, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The embedding and its projection, of frames, as those of their tokens; text as it is."""
        of_time, rest = output[:2], output[2:]
        return (*(each.repeat_interleave(per_frame, dim=1) for each in of_time), *rest)

    hook = transformer.condition_embedder.register_forward_hook(spread)
    try:
        yield
    finally:
        hook.remove()
