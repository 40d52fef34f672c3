"""What computes the fine branch, and what of it a machine can use. One that is asked for and cannot serve is an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from distill_core.errors import ConfigError, Problem
from distill_diffusers.sparse import flex, gathered
from distill_diffusers.sparse.cubes import Cubes

EngineName = Literal["torch", "flex", "kernel"]
Fine = Callable[[Tensor, Tensor, Tensor, Tensor, Cubes], Tensor]
"""(q, k, v [B, H, n, S, D], selected [B, H, n, K], cubes) to [B, H, n, S, D]."""

PACKAGES = ("fastvideo_kernel", "vsa")
"""Packages of CUDA and Triton kernels, the preferred one first. Neither has a part for the CPU, nor for float32."""
KERNEL_WIDTHS = (64, 128)


@dataclass(frozen=True)
class Engine:
    """One way to compute the fine branch.

    Attributes:
        name: what the run.yaml calls it.
        summary: one line for the log.
        fine: what computes.
    """

    name: EngineName
    summary: str
    fine: Fine


@dataclass(frozen=True)
class Work:
    """What will be asked of an engine.

    Attributes:
        device: where the tensors are.
        dtype: of queries, keys and values.
        head_width: D.
    """

    device: torch.device
    dtype: torch.dtype
    head_width: int


def choose_engine(asked: EngineName | Literal["auto"], work: Work) -> Engine:
    """The engine that was asked for; of ``auto``, the first of kernel, flex and torch that can do the work.

    Raises ConfigError with the reason if the one that was asked for cannot.
    """
    if asked == "auto":
        return next(_opened(name) for name in ("kernel", "flex", "torch") if obstacle(name, work) is None)
    reason = obstacle(asked, work)
    if reason is not None:
        message = f"the {asked} engine {reason}; leave vsa_engine out, and the best one that can serve is chosen"
        raise ConfigError([Problem("pipeline_config.vsa_engine", message)])
    return _opened(asked)


def obstacle(name: EngineName, work: Work) -> str | None:
    """Why an engine cannot do the work, or None if it can."""
    if name == "torch":
        return None
    if work.device.type != "cuda":
        return f"works on a CUDA GPU only, and this run is on {work.device.type}"
    if name == "flex":
        return (
            None if work.head_width >= 16 else f"takes heads of 16 numbers or more, the model's have {work.head_width}"
        )
    if not any(find_spec(package) for package in PACKAGES):
        return f"needs one of the packages {' and '.join(PACKAGES)}, and neither is installed"
    if work.dtype != torch.bfloat16:
        return f"computes in bf16, and this run in {work.dtype}; set training.precision: bf16"
    if work.head_width not in KERNEL_WIDTHS:
        return f"takes heads of {' or '.join(map(str, KERNEL_WIDTHS))} numbers, the model's have {work.head_width}"
    return None


def _opened(name: EngineName) -> Engine:
    match name:
        case "torch":
            return Engine("torch", "plain torch, by gathering", gathered.fine)
        case "flex":
            return Engine("flex", "compiled flex_attention", flex.fine)
        case "kernel":
            package = next(package for package in PACKAGES if find_spec(package))
            return Engine("kernel", f"the kernels of {package}", kernel_fine(import_module(package).block_sparse_attn))


def kernel_fine(block_sparse_attn: Callable[..., tuple[Tensor, Tensor]]) -> Fine:
    """A package's ``block_sparse_attn(q, k, v [B, H, n · S, D], mask [B, H, n, n], sizes [n])`` as an engine's function."""

    def fine(q_BHnSD: Tensor, k_BHnSD: Tensor, v_BHnSD: Tensor, selected_BHnK: Tensor, cubes: Cubes) -> Tensor:
        """By the package; its first output is the attention, its second a log-sum-exp."""
        q, k, v = (each.flatten(2, 3).contiguous() for each in (q_BHnSD, k_BHnSD, v_BHnSD))
        batch, heads, count, _ = selected_BHnK.shape
        none = torch.zeros(batch, heads, count, count, dtype=torch.bool, device=q.device)
        mask_BHnn = none.scatter(-1, selected_BHnK, True)
        return block_sparse_attn(q, k, v, mask_BHnn, cubes.sizes.to(torch.int32))[0].view(q_BHnSD.shape)

    return fine
