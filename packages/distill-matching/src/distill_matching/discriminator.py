"""The GAN of DMD2 (arXiv 2405.14867, section 4.3): a discriminator on the frozen teacher's features of noised clips.

B batch, T latent frames, D features, H W rows and columns of the teacher's tokens. Knows no role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, softplus

from distill_core.errors import ConfigError, Problem
from distill_core.plugins import ModelFacts
from distill_matching.options import DiscriminatorOptions

WIDTH = 256
"""Channels of a branch, at most; a narrower teacher has a narrower one."""
GROUPS = 8
"""Channels are normalised in so many groups, each sample by itself: a batch of one is none too small."""


class Discriminator(nn.Module):
    """A branch for each layer of the teacher that it sees; its logit is their mean.

    Attributes:
        layers: the layers that it sees.
    """

    def __init__(self, facts: Mapping[str, ModelFacts], options: DiscriminatorOptions) -> None:
        """Raises ConfigError for a layer that the teacher does not have."""
        super().__init__()
        teacher = facts["teacher"]
        count = teacher.layers
        self.layers = (count // 2, 3 * count // 4, count - 1) if options.gan_layers is None else options.gan_layers
        self.layers = tuple(dict.fromkeys(self.layers))
        if not self.layers or max(self.layers) >= count:
            message = f"is {list(self.layers)}, and {teacher.path} has the layers 0 to {count - 1}"
            raise ConfigError([Problem("method_config.gan_layers", message)])
        self.branches = nn.ModuleList(Branch(teacher.feature_width) for _ in self.layers)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The logit of each sample, [B], from the features [B, T, D, H, W] of each layer: above 0 says real."""
        logits = [branch(each) for branch, each in zip(self.branches, features, strict=True)]
        return torch.stack(logits).mean(0)


class Branch(nn.Module):
    """Features to a logit: a look at each site, one at its neighbours in space and time, the mean over all, and a small perceptron."""

    def __init__(self, features: int) -> None:
        super().__init__()
        width = GROUPS * max(1, min(WIDTH, features) // GROUPS)
        self.site = nn.Conv3d(features, width, 1)
        self.norm = nn.GroupNorm(GROUPS, width)
        self.neighbours = nn.Conv3d(width, width, 3, padding=1)
        self.judge = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))

    def forward(self, features_BTDHW: Tensor) -> Tensor:
        """The logit [B]."""
        x_BDTHW = leaky_relu(self.norm(self.site(features_BTDHW.transpose(1, 2))), 0.2)
        x_BDTHW = leaky_relu(self.neighbours(x_BDTHW), 0.2)
        logit_B: Tensor = self.judge(x_BDTHW.mean(dim=(2, 3, 4)))[:, 0]
        return logit_B


def generator_loss(fake_logit_B: Tensor) -> Tensor:
    """mean softplus(-D(fake)): non-saturating, for the student (DMD2, equation 5)."""
    return softplus(-fake_logit_B).mean()


def discriminator_loss(fake_logit_B: Tensor, real_logit_B: Tensor) -> Tensor:
    """mean softplus(D(fake)) + mean softplus(-D(real))."""
    return softplus(fake_logit_B).mean() + softplus(-real_logit_B).mean()


def approximate_r1(real_logit_B: Tensor, moved_logit_B: Tensor) -> Tensor:
    """mean (D(real) - D(real + α n))²: a finite difference in place of R1's gradient (arXiv 2501.08316, section 3.3)."""
    return torch.mean((real_logit_B - moved_logit_B) ** 2)
