"""The loss of knowledge distillation, as a function of tensors.

B batch, T latent frames, C channels, H W latent rows and columns.
"""

from __future__ import annotations

import torch
from torch import Tensor


def end_loss(x0_BTCHW: Tensor, end_BTCHW: Tensor) -> Tensor:
    """½ mean (x̂0 - x_end)² (Luhman and Luhman, arXiv 2101.02388, equation 5; the ½ is FastGen's and FastVideo's)."""
    return 0.5 * torch.mean((x0_BTCHW.float() - end_BTCHW.float()) ** 2)
