"""Blocks whose weights are read one after another, each into fewer bits, or its part, before the next: nobody ever holds a model whole.

A block is read where it is first called, computes with its weights as they are stored, and is held in fewer bits then. So one pass says
what the whole model predicts, though most of it is in fewer bits by its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from distill_core.errors import PluginError
from distill_core.training.quantized import hold

Layers = Mapping[nn.Module, Sequence[str]]
"""By model, the names of the layers that are to be held in fewer bits."""


def as_it_is(_: nn.Module) -> None:
    """A block keeps the weights of its folder."""


class Unread:
    """The blocks of some models that were not read yet.

    Attributes:
        replace: is given each block as soon as it is read, in host memory, and may put other weights into it.
        held: by model, the names of the layers that are in fewer bits by now.
    """

    def __init__(self) -> None:
        self.replace: Callable[[nn.Module], None] = as_it_is
        self.held: dict[nn.Module, set[str]] = {}
        self._readers: dict[nn.Module, Callable[[], None]] = {}

    def add(self, block: nn.Module, read: Callable[[], None]) -> None:
        """A block, and what reads its weights into host memory."""
        self._readers[block] = read

    def __contains__(self, block: nn.Module) -> bool:
        return block in self._readers

    def arrive(self, unit: nn.Module, device: torch.device) -> None:
        """Have the weights of a block, or of a model all of whose blocks were read, on the device."""
        self._read(device, unit)
        _to(unit, device)

    @contextmanager
    def read_in_turn(self, layers: Layers, kind: str, device: torch.device) -> Iterator[None]:
        """Inside, blocks are read where they are called; those that were not called are by the end. Then all lies on ``device``."""
        self.held = {module: set() for module in layers}
        if not self._readers:
            yield
            return
        hooks = []
        for module in layers:
            for name, block in module.named_modules():
                if block in self._readers:
                    shrink = partial(self._shrink, module, name, layers[module], kind)
                    hooks.append(block.register_forward_pre_hook(partial(self._read, device)))
                    hooks.append(block.register_forward_hook(shrink))
            _to(module, device)
        yield
        for hook in hooks:
            hook.remove()
        for module in layers:
            for name, block in list(module.named_modules()):
                if block in self._readers:
                    self._read(device, block)
                    self._shrink(module, name, layers[module], kind)

    def _read(self, device: torch.device, block: nn.Module, *_: Any) -> None:
        """Whatever the hook is given besides. Raises PluginError for weights that the family did not read."""
        read = self._readers.pop(block, None)
        if read is None:
            return
        read()
        self.replace(block)
        _to(block, device)
        unread = [name for name, parameter in block.named_parameters() if parameter.is_meta]
        if unread:
            raise PluginError(
                f"a model was loaded without the weights of {unread[0]}: what was to read a block's left them out"
            )

    def _shrink(self, root: nn.Module, name: str, chosen: Sequence[str], kind: str, *_: Any) -> None:
        """Whatever the hook is given besides."""
        inside = [layer for layer in chosen if layer.startswith(f"{name}.") and layer not in self.held[root]]
        hold(root, kind, inside)
        self.held[root].update(inside)


@torch.no_grad()
def _to(root: nn.Module, device: torch.device) -> None:
    """All that was read, where it will be used."""
    for part in root.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            if not parameter.is_meta and parameter.device != device:
                part.register_parameter(name, nn.Parameter(parameter.to(device), requires_grad=False))
        for name, buffer in list(part.named_buffers(recurse=False)):
            if buffer.device != device:
                setattr(part, name, buffer.to(device))
