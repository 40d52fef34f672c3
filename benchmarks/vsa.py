"""What video sparse attention costs beside dense attention: arithmetic, counted; and time, by sequence length and sparsity.

Arithmetic is counted on tensors without numbers, at the sizes of published models. Time is the median of calls that take turns in one
process, of plain torch on the CPU, and of flex_attention and a kernel package where there is a GPU for them. Dense is torch's
scaled_dot_product_attention on the same queries, keys and values. About 5 minutes on one CPU thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from math import prod

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from distill_diffusers.sparse import gathered
from distill_diffusers.sparse.attend import SparseCall, dense, sparse_attention
from distill_diffusers.sparse.cubes import Grid, cubes_of
from distill_diffusers.sparse.engines import Engine, Work, choose_engine, obstacle

SPARSITIES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95)
PUBLISHED = {
    "448x832, 61 frames": (16, 28, 52),
    "480x832, 81 frames": (21, 30, 52),
    "720x1280, 81 frames": (21, 45, 80),
}
CPU_GRIDS: tuple[Grid, ...] = ((4, 8, 8), (4, 16, 16), (8, 16, 16), (8, 16, 32), (16, 16, 32), (16, 32, 32))
GPU_GRIDS: tuple[Grid, ...] = ((8, 28, 52), (16, 28, 52), (21, 30, 52), (20, 48, 80))
TORCH = Engine("torch", "plain torch, by gathering", gathered.fine)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3, help="timed calls of each kind, taking turns")
    parser.add_argument(
        "--longest", type=int, default=8192, help="tokens of the longest sequence that the CPU is timed at"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print_arithmetic()
    cpu = torch.device("cpu")
    grids = [grid for grid in CPU_GRIDS if prod(grid) <= arguments.longest]
    print_times(
        "plain torch on one CPU thread, float32, 2 heads of 64",
        TORCH,
        grids,
        cpu,
        torch.float32,
        2,
        64,
        arguments.repeats,
    )
    if not torch.cuda.is_available():
        print("\nno GPU here: flex_attention and kernels were not timed")
        return
    cuda = torch.device("cuda")
    for name in ("flex", "kernel"):
        work = Work(cuda, torch.bfloat16, 128)
        reason = obstacle(name, work)
        if reason is not None:
            print(f"\nthe {name} engine {reason}: not timed")
            continue
        title = f"{name} on {torch.cuda.get_device_name()}, bfloat16, 12 heads of 128"
        print_times(title, choose_engine(name, work), GPU_GRIDS, cuda, torch.bfloat16, 12, 128, arguments.repeats)


def print_arithmetic() -> None:
    """Multiplications and additions of the attention of one layer, as a share of dense attention's, forward."""
    print("arithmetic / dense, counted, 12 heads of 128")
    print(f"{'':22}{'tokens':>8}{'cubes':>7}" + "".join(f"{f's = {s:g}':>9}" for s in SPARSITIES))
    for name, grid in PUBLISHED.items():
        cubes = cubes_of(grid, torch.device("cpu"))
        shares = [counted(grid, s) / counted(grid, None) for s in SPARSITIES]
        print(f"{name:22}{prod(grid):8}{cubes.count:7}" + "".join(f"{share:9.3f}" for share in shares))


def counted(grid: Grid, sparsity: float | None) -> int:
    """Floating point operations of one call, on tensors without numbers; ``None`` is dense attention."""
    gathered.GATHERED = 1 << 60  # all at once: there is nothing to hold
    cubes_of(grid, torch.device("cpu"))  # made before there are tensors without numbers
    with FakeTensorMode(allow_non_fake_inputs=True), sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        inputs = [torch.empty(1, prod(grid), 12, 128) for _ in range(4)]
        with FlopCounterMode(display=False) as counter:
            attend(inputs, grid, sparsity, TORCH)
    return int(counter.get_total_flops())


def attend(inputs: list[Tensor], grid: Grid, sparsity: float | None, engine: Engine) -> Tensor:
    """One call on q, k, v and a gate, [1, N, H, D]."""
    q, k, v, gate = inputs
    return dense(q, k, v) if sparsity is None else sparse_attention(q, k, v, gate, SparseCall(grid, sparsity, engine))


def print_times(
    title: str,
    engine: Engine,
    grids: list[Grid] | tuple[Grid, ...],
    device: torch.device,
    dtype: torch.dtype,
    heads: int,
    width: int,
    repeats: int,
) -> None:
    """Time as a share of dense attention's, forward and backward together, and the length from which each sparsity pays."""
    print(f"\ntime / dense, forward and backward: {title}")
    print(f"{'grid':14}{'tokens':>8}{'dense s':>10}" + "".join(f"{f's = {s:g}':>9}" for s in SPARSITIES))
    pays: dict[float, int] = {}
    for grid in grids:
        generator = torch.Generator().manual_seed(0)
        inputs = [
            torch.randn(1, prod(grid), heads, width, generator=generator).to(device, dtype).requires_grad_()
            for _ in range(4)
        ]
        seconds = dict(zip((None, *SPARSITIES), medians(inputs, grid, engine, repeats), strict=True))
        dense = seconds[None]
        for sparsity in SPARSITIES:
            if seconds[sparsity] < dense:
                pays.setdefault(sparsity, prod(grid))
        shares = "".join(f"{seconds[sparsity] / dense:9.2f}" for sparsity in SPARSITIES)
        print(f"{'x'.join(map(str, grid)):14}{prod(grid):8}{dense:10.4f}{shares}", flush=True)
    for sparsity in SPARSITIES[1:]:
        found = f"from {pays[sparsity]} tokens" if sparsity in pays else "at none of these lengths"
        print(f"  s = {sparsity:g} pays {found}")


def medians(inputs: list[Tensor], grid: Grid, engine: Engine, repeats: int) -> Iterator[float]:
    """Seconds of dense attention and of each sparsity, in their order. Kinds take turns; each is called twice in a row, and the second
    call is timed, for the first pays for memory that another kind has just given back to the system."""

    def call(sparsity: float | None) -> Callable[[], None]:
        def run() -> None:
            out = attend(inputs, grid, sparsity, engine)
            torch.autograd.grad(out.sum(), inputs if sparsity is not None else inputs[:3])
            if out.is_cuda:
                torch.cuda.synchronize()

        return run

    calls = [call(sparsity) for sparsity in (None, *SPARSITIES)]
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for own, run in zip(seconds, calls, strict=True):
            run()
            began = time.perf_counter()
            run()
            own.append(time.perf_counter() - began)
    return (statistics.median(own) for own in seconds)


if __name__ == "__main__":
    main()
