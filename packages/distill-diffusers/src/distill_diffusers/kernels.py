"""diffusers' attention backends, by its own names: a switch of the whole process, turned for as long as a role attends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, attention_backend, dispatch_attention_fn

from distill_core.surroundings import Surrounding

_chosen = Surrounding(False)


class DiffusersKernels:
    """The :class:`distill_core.protocols.kernels.AttentionKernels` of every family of diffusers pipelines."""

    @contextmanager
    def attending(self, name: str) -> Iterator[None]:
        """Inside, attention goes to the backend, but where it is masked. Raises ValueError for a name that diffusers does not know."""
        known = [each.value for each in AttentionBackendName]
        if name not in known:
            raise ValueError(f"diffusers has no such backend; it has {', '.join(known)}")
        with _chosen.being(True), attention_backend(name):
            yield

    def try_out(self, name: str, device: torch.device, dtype: torch.dtype) -> None:
        """Two heads of 64 numbers, 128 tokens."""
        q, k, v = (torch.randn(1, 128, 2, 64, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
        with self.attending(name):
            dispatch_attention_fn(q, k, v).sum().backward()


def attending_masked() -> AbstractContextManager[object]:
    """Inside, attention is torch's own, which takes any mask; most backends take none."""
    return attention_backend(AttentionBackendName.NATIVE) if _chosen.value else nullcontext()
