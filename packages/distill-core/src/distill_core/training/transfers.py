"""Moving weights between host and device: a parameter stays one tensor of the device, whose storage is filled and freed.

Views of it that a graph holds are so filled with it. Numbers are written beside autograd, which would take them for others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from distill_core.training.offload import Transfers, Unit


@dataclass(frozen=True)
class _Moved:
    """One parameter.

    Attributes:
        here: its tensor on the device, beside autograd.
        host: its numbers.
        size: bytes of its storage on the device.
    """

    here: Tensor
    host: Tensor
    size: int

    def fill(self) -> None:
        """Its numbers on the device, with the current stream; does not wait for a pinned host's."""
        self.here.copy_(self.host, non_blocking=self.host.is_pinned())


class HostTransfers:
    """Copies that are done when they have begun: to a device that is the host itself.

    The device is a machine's CPU in tests, and what differs on a GPU is :class:`SideStream`.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._moved: WeakKeyDictionary[Unit, dict[int, _Moved]] = WeakKeyDictionary()

    def settle(self, unit: Unit) -> None:
        """Its weights to host memory, pinned where the device is none; its buffers to the device, for good."""
        moved: dict[int, _Moved] = {}
        for parameter in unit.module.parameters():
            if id(parameter) not in moved:
                moved[id(parameter)] = self._settled(parameter)
        for module in unit.module.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.to(self.device))
        self._moved[unit] = moved

    def _settled(self, parameter: nn.Parameter) -> _Moved:
        host = parameter.data.cpu()
        host = host.pin_memory() if self.device.type == "cuda" else host
        parameter.data = torch.empty_like(host, device=self.device)
        storage = parameter.untyped_storage()
        size = storage.nbytes()
        storage.resize_(0)
        return _Moved(parameter.data, host, size)

    def begin(self, unit: Unit) -> None:
        """Memory, and the numbers."""
        self.room(unit)
        self.fill(unit)

    def room(self, unit: Unit) -> None:
        """Memory on the device."""
        for each in self._moved[unit].values():
            each.here.untyped_storage().resize_(each.size)

    def fill(self, unit: Unit) -> None:
        """The numbers."""
        for each in self._moved[unit].values():
            each.fill()

    def finish(self, unit: Unit) -> None:
        """It is there."""

    def drop(self, unit: Unit) -> None:
        """Its memory is free."""
        for each in self._moved[unit].values():
            each.here.untyped_storage().resize_(0)

    def hosted(self, unit: Unit) -> Mapping[int, Tensor]:
        """The weights in host memory."""
        return {key: each.host for key, each in self._moved[unit].items()}


class SideStream(HostTransfers):
    """Copies to a GPU on a stream of their own, beside what computes.

    Memory is taken and freed in the order of the computing stream, so a copy begins when what was asked of that stream before is done:
    what used the memory last is among it.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._stream = torch.cuda.Stream(device)
        self._there: dict[Unit, torch.cuda.Event] = {}

    def begin(self, unit: Unit) -> None:
        """Memory at once, the numbers when the copying stream comes to it."""
        self.room(unit)
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            self.fill(unit)
            self._there[unit] = self._stream.record_event()

    def finish(self, unit: Unit) -> None:
        """What is computed from now on waits for the copy."""
        if unit in self._there:
            torch.cuda.current_stream(self.device).wait_event(self._there.pop(unit))

    def drop(self, unit: Unit) -> None:
        """Its memory is free once a copy that is going on is done."""
        self.finish(unit)
        super().drop(unit)


def transfers_to(device: torch.device) -> Transfers:
    """What moves weights to a device."""
    return SideStream(device) if device.type == "cuda" else HostTransfers(device)
