"""A guided prediction as two passes against one of both batches joined: ``uv run python benchmarks/guidance.py``.

A Wan transformer with random weights, without a graph, on a GPU where there is one. One line a shape: the time of two and of one (on a CPU
its own time), the median of one ÷ two over interleaved pairs, and the largest difference of the answers relative to the largest number.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

CPU_SIZE = {"num_attention_heads": 4, "attention_head_dim": 32, "ffn_dim": 512, "num_layers": 6, "text_dim": 64}
GPU_SIZE = {"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960, "num_layers": 30, "text_dim": 4096}
CPU_SHAPES = ((1, 1, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8), (8, 3, 8, 8), (1, 5, 16, 16), (1, 5, 32, 32), (1, 9, 30, 52))
GPU_SHAPES = ((1, 1, 32, 32), (8, 1, 32, 32), (1, 1, 60, 104), (1, 3, 60, 104), (1, 9, 60, 104), (1, 21, 60, 104))
PAIRS = 15


def seconds(work: Callable[[], object], gpu: bool) -> float:
    """What a call takes."""
    if not gpu:
        began = time.process_time()
        work()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(model: WanTransformer3DModel, shape: tuple[int, int, int, int], width: int) -> str:
    """The line of a shape [B, T, H, W]."""
    rows, frames, height, columns = shape
    gpu, like = next(model.parameters()).is_cuda, {"device": model.device, "dtype": model.dtype}
    x = torch.randn(rows, 16, frames, height, columns, **like)
    t = torch.full((rows,), 500.0, device=model.device)
    cond, away = (torch.randn(rows, 512 if gpu else 16, width, **like) for _ in range(2))

    def predict(noisy: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        found: Tensor = model(noisy, timestep=timestep, encoder_hidden_states=text, return_dict=False)[0]
        return found

    def two() -> Tensor:
        return torch.cat([predict(x, t, cond), predict(x, t, away)])

    def one() -> Tensor:
        return predict(torch.cat([x, x]), torch.cat([t, t]), torch.cat([cond, away]))

    apart, joined = two(), one()
    off = float((apart - joined).abs().max() / apart.abs().max())
    pairs = [(seconds(two, gpu), seconds(one, gpu)) for _ in range(PAIRS)]
    first, second = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(after / before for before, after in pairs)
    tokens = frames * height * columns // 4
    return f"{rows} x {tokens} tokens: two {first:.1f} ms, one {second:.1f} ms, one / two {ratio:.2f}, off by {off:.1e}"


@torch.no_grad()
def main() -> None:
    """Print a line a shape."""
    gpu = torch.cuda.is_available()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size, shapes = (GPU_SIZE, GPU_SHAPES) if gpu else (CPU_SIZE, CPU_SHAPES)
    device, dtype = ("cuda", torch.bfloat16) if gpu else ("cpu", torch.float32)
    model = WanTransformer3DModel(patch_size=(1, 2, 2), in_channels=16, out_channels=16, **size)
    model.to(device=device, dtype=dtype).eval()
    for shape in shapes:
        print(measure(model, shape, size["text_dim"]), flush=True)


if __name__ == "__main__":
    main()
