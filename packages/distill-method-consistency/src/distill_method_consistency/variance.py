"""The loss's own variance at each angle, learnt along with the student (sCM, arXiv 2410.11081, section 4; EDM2's w_φ)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from distill_core.plugins import ModelFacts
from distill_method_consistency.config import ScmOptions

WIDTH = 64


class LogVariance(nn.Module):
    """log of the mean squared error that is to be expected at an angle; 0 everywhere at first."""

    def __init__(self, facts: Mapping[str, ModelFacts], options: ScmOptions) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 1))
        last = self.net[2]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, angle_B: Tensor) -> Tensor:
        """[B] of the angles t̂ [B]."""
        logvar_B: Tensor = self.net(angle_B.float()[:, None])[:, 0]
        return logvar_B
