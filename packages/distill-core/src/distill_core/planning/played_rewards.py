"""Rewards of a run that is played: made-up captions and tensors without content mean nothing to the real ones."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from distill_core.training.rewards import rewards_of
from distill_core.training.roles import RoleHandle


class Played:
    """The :class:`distill_core.protocols.Reward` in the place of each: the mean over a clip's pixels, with the gradient.

    What a real one computes, and keeps for its gradient, is no part of the plan; its weights are.
    """

    def check(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int]) -> None:
        """Everything can be measured."""

    def score(self, pixels_BFCHW: Tensor, captions: Sequence[str]) -> Tensor:
        """The mean of each clip."""
        return pixels_BFCHW.flatten(1).mean(1)


def play_rewards(role: RoleHandle) -> None:
    """Let a role that is the run's rewards answer by stand-ins."""
    rewards = rewards_of(role)
    rewards.rewards = {name: Played() for name in rewards.rewards}
