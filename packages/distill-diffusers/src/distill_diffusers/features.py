"""Outputs of hidden layers, taken from the forward pass that makes the velocity, with its graph.

B batch, T latent frames, N tokens, D width, H W rows and columns of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from distill_core.errors import PluginError


@dataclass(frozen=True)
class Layers:
    """Where a denoiser's layers are.

    Attributes:
        lists: the lists that hold them, one after another.
        output: of several things that a layer puts out, the place of the tokens that are latents; None where no layer does.
    """

    lists: tuple[str, ...] = ("transformer_blocks",)
    output: int | None = None

    @contextmanager
    def seen(self, denoiser: Any, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
        """What the layers put out inside, [B, N, D] by layer: once, for what recomputes them in backward comes later.

        Raises PluginError for a layer that is not there.
        """
        blocks, seen = [block for name in self.lists for block in getattr(denoiser, name)], dict[int, Tensor]()
        beyond = [layer for layer in layers if not 0 <= layer < len(blocks)]
        if beyond:
            raise PluginError(
                f"it asks features of layer {beyond[0]}, and the model's layers are 0 to {len(blocks) - 1} (ModelFacts.layers)"
            )

        def take(layer: int, _: nn.Module, __: object, output: Any) -> None:
            """Keep a layer's output."""
            seen[layer] = output if self.output is None or isinstance(output, Tensor) else output[self.output]

        hooks = [blocks[layer].register_forward_hook(partial(take, layer)) for layer in dict.fromkeys(layers)]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()


def on_grid(tokens_BND: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """The last tokens, as many as a grid (T, H, W) has, as float32 [B, T, D, H, W]."""
    frames, rows, columns = grid
    features_BTDHW: Tensor = tokens_BND[:, -frames * rows * columns :].float().unflatten(1, grid).movedim(-1, 2)
    return features_BTDHW
