"""What computes a family's attention, where there is a choice."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class AttentionKernels(Protocol):
    """The kernels that a family's layers can attend by, each with a name. Built without arguments."""

    def attending(self, name: str) -> AbstractContextManager[None]:
        """Inside, dense attention is computed by the kernel of that name. Raises anything for one that is not to be had."""
        ...

    def try_out(self, name: str, device: torch.device, dtype: torch.dtype) -> None:
        """Attend once by it, forward and backward. Raises anything where it cannot."""
        ...
