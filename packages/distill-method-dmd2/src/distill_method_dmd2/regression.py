"""The regression term of DMD (arXiv 2311.18828, section 4.2): the student's first step should end where the teacher's flow does.

The gradient of a KL seeks modes: students stand nearer together than the teacher's samples. A target for each noise holds them
apart. DMD kept a stored set of pairs; here the pairs are made as they are needed, so that there is nothing to store or to resume.
"""

from __future__ import annotations

import torch
from torch import Tensor


def regression_loss(x_BTCHW: Tensor, target_BTCHW: Tensor) -> Tensor:
    """mean (x - y)², in latents; DMD's own is LPIPS, in pixels."""
    return torch.mean((x_BTCHW.float() - target_BTCHW.float()) ** 2)
