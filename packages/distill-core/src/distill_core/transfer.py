"""From host memory to the device without waiting for it. Moves tensors, decides nothing about where they belong."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(host: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on ``device``.

    A copy to a GPU from ordinary memory holds the host until all work that was queued before it is done; one from pinned memory is
    queued like any other work. torch keeps the pinned memory until the copy has been made.
    """
    if device.type != "cuda":
        return host.to(device)
    return host.pin_memory().to(device, non_blocking=True)


def onto_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU, or of the device already, on ``device``."""
    return to_device(tensor, device) if tensor.device.type == "cpu" else tensor.to(device)
