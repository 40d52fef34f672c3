"""Two experts whose weights lie in parts: all ranks bring one's weights together, or none does.

So an expert that predicts a sample on any rank predicts one on every rank. A rank whose own samples all belong to the other one adds a copy
of its first, at a timestep of this one's, and drops the answer: that sample has no weight in a loss, and its gradients are zeros. What is
drawn, and what own samples give, stays as it is.

B batch, T latent frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distill_core.errors import PluginError
from distill_core.plugins.timesteps import TRAIN_TIMESTEPS
from distill_core.protocols.condition import Condition
from distill_core.protocols.prediction import Ask
from distill_core.ranks.ranks import Ranks


@dataclass(frozen=True)
class Asked:
    """What a family is asked to predict.

    Attributes:
        noisy: [B, T, C, H, W].
        timestep: [B] or [B, T].
        condition: of B samples.
        ask: how.
    """

    noisy: Tensor
    timestep: Tensor
    condition: Condition
    ask: Ask


def joined_by(asked: Asked, boundary: float, ranks: Ranks) -> Asked:
    """The same, and a sample more where the ranks need an expert that none of these belongs to."""
    high = [max(times) >= boundary for times in asked.timestep.view(len(asked.timestep), -1).tolist()]
    here = [any(high), not all(high)]
    sides = (0.5 * (boundary + TRAIN_TIMESTEPS), 0.5 * boundary)
    added = [
        timestep for timestep, own, any_ in zip(sides, here, ranks.anywhere(here), strict=True) if any_ and not own
    ]
    return _with_sample(asked, added[0]) if added else asked


def _with_sample(asked: Asked, timestep: float) -> Asked:
    """A copy of the first sample after the others. Raises PluginError for parts of a question that no sample can be added to."""
    ask = asked.ask
    whole = sorted(ask.parts & {"along", "stream"})
    if whole:
        raise PluginError(
            f"it asks {', '.join(whole)} of two experts whose weights lie in parts, and processes need different ones; "
            "set distributed.shard=1"
        )
    times = torch.cat([asked.timestep, torch.full_like(asked.timestep[:1], timestep)])
    rows = torch.tensor([*range(len(times) - 1), 0], device=asked.noisy.device)
    until = None if ask.until is None else torch.cat([ask.until, times[-1:].to(ask.until)])
    clean = None if ask.clean is None else torch.cat([ask.clean, ask.clean[:1].detach()])
    noisy = torch.cat([asked.noisy, asked.noisy[:1].detach()])
    return Asked(noisy, times, asked.condition.select(rows), replace(ask, until=until, clean=clean))
