"""Which activations are alive when: by hooks on what autograd saves for a backward pass."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Saved:
    """An activation that a graph keeps.

    Attributes:
        loss: how many losses had been begun when it was kept.
        tensor: its value.
    """

    loss: int
    tensor: Tensor


class GraphLedger:
    """Writes down what is kept for which loss.

    Attributes:
        together: the number of a loss, and of a later one whose backward used what was kept before the first was yielded; None if none.
    """

    def __init__(self) -> None:
        self.together: tuple[int, int] | None = None
        self._loss = 0
        self._alive: list[weakref.ref[Saved]] = []

    def next_loss(self) -> None:
        """The method goes on to its next loss."""
        self._loss += 1

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, graphs are written down; the losses are counted anew."""
        self._loss = 0
        with torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack):
            yield

    def outliving(self) -> int:
        """How many activations are alive although all losses are done."""
        if any(saved() is not None for saved in self._alive):
            gc.collect()
        self._alive = [saved for saved in self._alive if saved() is not None]
        return len(self._alive)

    def _pack(self, tensor: Tensor) -> Saved:
        saved = Saved(self._loss, tensor.detach())
        if tensor.requires_grad and not tensor.is_leaf:
            self._alive.append(weakref.ref(saved))
        return saved

    def _unpack(self, saved: Saved) -> Tensor:
        if saved.loss < self._loss and self.together is None:
            self.together = (saved.loss, self._loss)
        return saved.tensor
