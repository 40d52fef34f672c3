"""The rewards of a run as one module: what a role that is them answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from distill_core.errors import PluginError
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.protocols.reward import Reward
from distill_core.protocols.role import Role


class WeightedRewards(nn.Module):
    """Each reward of a run, and their weighted sum. Rewards that are modules are its parts, all of them frozen.

    Attributes:
        rewards: by name.
        weights: of each, by name.
        enough: above which a score counts as this, by name, of those that have such a bound.
    """

    def __init__(
        self, rewards: Mapping[str, Reward], weights: Mapping[str, float], enough: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        self.rewards, self.weights, self.enough = dict(rewards), dict(weights), dict(enough or {})
        self.parts = nn.ModuleList(reward for reward in rewards.values() if isinstance(reward, nn.Module))
        self.parts.requires_grad_(False)
        self.parts.eval()

    def each(self, pixels_BFCHW: Tensor, captions: Sequence[str]) -> dict[str, Tensor]:
        """float32 [B] of each reward, by name. Raises PluginError that names the reward at fault."""
        found: dict[str, Tensor] = {}
        for name, reward in self.rewards.items():
            try:
                with plugin_border(f"reward {name!r}"):
                    score_B = reward.score(pixels_BFCHW, captions).float()
            except RefusedError as refusal:
                raise PluginError(refusal.reason) from refusal.__cause__
            if score_B.shape != (len(captions),):
                raise PluginError(
                    f"reward {name!r} answers {len(captions)} clips with a tensor of {list(score_B.shape)}; it has to be [B]"
                )
            found[name] = score_B
        return found

    def total(self, each: Mapping[str, Tensor]) -> Tensor:
        """Σ weight · min(reward, enough), float32 [B]; the bound is the margin of ReFL's loss (arXiv 2304.05977, section 4)."""
        bounded = {name: score_B.clamp(max=self.enough.get(name, torch.inf)) for name, score_B in each.items()}
        return torch.stack([self.weights[name] * score_B for name, score_B in bounded.items()]).sum(0)

    def forward(self, pixels_BFCHW: Tensor, captions: Sequence[str]) -> Tensor:
        """Their weighted sum, each up to what is enough of it, float32 [B]."""
        return self.total(self.each(pixels_BFCHW, captions))


def rewards_of(role: Role) -> WeightedRewards:
    """The rewards that a role is, which its method declares by ``RoleNeed.rewards``."""
    rewards = role.module
    assert isinstance(rewards, WeightedRewards), f"role {role.name!r} is declared as something else"
    return rewards
