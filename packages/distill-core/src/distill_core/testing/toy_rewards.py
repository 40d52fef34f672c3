"""A reward for tests: how bright a clip is."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from distill_core.training.rewards import WeightedRewards


class Brightness:
    """The :class:`distill_core.protocols.Reward` of the mean over all pixels, with the gradient."""

    def check(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int]) -> None:
        """Everything can be measured."""

    def score(self, pixels_BFCHW: Tensor, captions: Sequence[str]) -> Tensor:
        """The mean of each clip."""
        return pixels_BFCHW.flatten(1).mean(1)


def toy_rewards() -> WeightedRewards:
    """What a role that is a run's rewards answers in the kit, and in :func:`toy_roles`."""
    return WeightedRewards({"brightness": Brightness()}, {"brightness": 1.0})
