"""Outputs of hidden layers, taken from the forward pass that makes the velocity, with its graph.

B batch, T latent frames, N tokens, D width, H W rows and columns of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from distill_core.errors import PluginError


@contextmanager
def layers_seen(transformer: Any, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """What the layers put out inside, [B, N, D] by layer: once, for what recomputes them in backward comes later.

    Raises PluginError for a layer that is not there.
    """
    blocks, seen = transformer.blocks, dict[int, Tensor]()
    beyond = [layer for layer in layers if not 0 <= layer < len(blocks)]
    if beyond:
        raise PluginError(
            f"it asks features of layer {beyond[0]}, and the model's layers are 0 to {len(blocks) - 1} (ModelFacts.layers)"
        )

    def take(layer: int, _: nn.Module, __: object, output_BND: Tensor) -> None:
        """Keep a layer's output."""
        seen[layer] = output_BND

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
