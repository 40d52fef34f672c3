"""Modules of the methods' own."""

from __future__ import annotations

import torch
from torch import nn


class Head(nn.Module):
    """A logit per sample from the teacher's last hidden layer."""

    def __init__(self, facts, options):
        super().__init__()
        self.layer = facts["teacher"].layers - 1
        self.net = nn.Sequential(nn.Conv3d(facts["teacher"].feature_width, 32, 1), nn.SiLU(), nn.Conv3d(32, 1, 1))

    def forward(self, features_BTDHW):
        return self.net(features_BTDHW.transpose(1, 2)).flatten(1).mean(1)


class LogVariance(nn.Module):
    """The loss's own log variance at an angle, and how often it was asked: a statistic that a resume must not lose."""

    def __init__(self, facts, options):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 16), nn.SiLU(), nn.Linear(16, 1))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, angle_B):
        return self.net(angle_B.float()[:, None])[:, 0]


class Redness(nn.Module):
    """Stands for a reward: how red the frames are; a caption without "red" asks for the contrary."""

    def __init__(self, facts, options):
        super().__init__()

    def forward(self, pixels_BFCHW, captions):
        signs = [1.0 if "red" in caption else -1.0 for caption in captions]
        redness = (pixels_BFCHW[:, :, 0] - pixels_BFCHW[:, :, 1:].mean(2)).mean((1, 2, 3))
        return torch.tensor(signs, device=pixels_BFCHW.device) * redness
