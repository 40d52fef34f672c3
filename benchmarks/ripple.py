"""How the shapes teacher's velocity changes along its own flow: exactly, and by differences of several widths.

Wan's embedding of time has waves as short as 6 of the 1000 timesteps. What they leave in a prediction is small, and its derivative is
not: an exact derivative, or one by differences about as wide as a wave, is mostly that.

    python benchmarks/ripple.py        # seconds
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from distill_core.data.reading.dataset import open_dataset

SHAPES = Path(__file__).resolve().parent.parent / "examples" / "shapes"
CLIPS, STEPS = 16, 40
AT = (0.95, 0.8, 0.5)
"""σ, all of them times of a path of ``STEPS`` Euler steps."""
WIDTHS = (0.001, 0.005, 0.02, 0.05)

Velocity = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Print root mean squares of dv/dσ along the path: all of it, and of time alone."""
    torch.manual_seed(0)
    model = WanTransformer3DModel.from_pretrained(SHAPES / "teacher" / "transformer", torch_dtype=torch.float64)
    prompts = open_dataset(SHAPES / "prompts", latents=False)
    texts = [prompts[place].text_LD for place in range(CLIPS)]
    text_BLD = torch.nn.utils.rnn.pad_sequence([text.double() for text in texts], batch_first=True)

    def velocity(x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
        found: Tensor = model(x_BCTHW, (1000.0 * sigma).expand(CLIPS), text_BLD, return_dict=False)[0]
        return found

    print(f"| σ | | exact | {' | '.join(f'±{width:g}' for width in WIDTHS)} |\n|---|---|---|{'---|' * len(WIDTHS)}")
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        x_BCTHW = torch.randn(CLIPS, 8, 3, 8, 8, dtype=torch.float64)
        for step in range(STEPS):
            sigma = torch.tensor(1.0 - step / STEPS, dtype=torch.float64)
            along_BCTHW = velocity(x_BCTHW, sigma)
            if any(abs(sigma.item() - at) < 1e-6 for at in AT):
                told(velocity, x_BCTHW, sigma, along_BCTHW)
            x_BCTHW = x_BCTHW - along_BCTHW / STEPS


def told(velocity: Velocity, x_BCTHW: Tensor, sigma: Tensor, along_BCTHW: Tensor) -> None:
    """Two lines of the table."""
    for name, direction_BCTHW in (("along the flow", along_BCTHW), ("time alone", torch.zeros_like(along_BCTHW))):
        exact = torch.func.jvp(velocity, (x_BCTHW, sigma), (direction_BCTHW, torch.ones_like(sigma)))[1]
        found = [exact]
        for width in WIDTHS:
            ends = [velocity(x_BCTHW + by * direction_BCTHW, sigma + by) for by in (width, -width)]
            found.append((ends[0] - ends[1]) / (2.0 * width))
        values = " | ".join(f"{each.square().mean().sqrt().item():.2f}" for each in found)
        print(f"| {sigma.item():g} | {name} | {values} |")


if __name__ == "__main__":
    main()
