"""The dtype that a forward pass computes in, whatever dtype its weights are held in."""

from __future__ import annotations

import torch


def forward_precision(device: torch.device, compute_dtype: torch.dtype) -> torch.autocast:
    """Inside, layers compute in ``compute_dtype``, float32 or a narrower one.

    Narrow copies of weights are let go as soon as their layer is done. By itself autocast keeps them all until the pass ends, for layers
    that run twice: in a pass without a graph, which would keep nothing else, 28 GB for 14B parameters.
    """
    lower = compute_dtype in (torch.bfloat16, torch.float16)
    return torch.autocast(device.type, dtype=compute_dtype if lower else None, enabled=lower, cache_enabled=False)
