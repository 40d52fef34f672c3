"""Whether frozen weights are still what was loaded: no checkpoint holds them, so what a method writes there is lost by a resume.

Looks at the smallest tensors of each role, by value: a moving average or a copy moves these too. A method that writes into one large matrix
alone is found by the kit (``check_method``), which compares all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from distill_core.training.parts import part
from distill_core.training.roles import RoleHandle

WATCHED = 2**14
"""Numbers of each role that are compared, at most; its smallest tensor is, whatever its size."""


class FrozenWatch:
    """The smallest of what no checkpoint holds, as it was when this was made."""

    def __init__(self, roles: Mapping[str, RoleHandle]) -> None:
        self._seen = {
            (name, key): (tensor, _copied(tensor)) for name, role in roles.items() for key, tensor in _smallest(role)
        }

    def changed(self) -> tuple[str, str] | None:
        """The role and the name of a tensor that is no longer what it was, or None."""
        return next((place for place, (now, then) in self._seen.items() if not torch.equal(_copied(now), then)), None)


def _smallest(role: RoleHandle) -> Iterator[tuple[str, Tensor]]:
    numbers = 0
    plain = {
        key: tensor for key, tensor in role.frozen_tensors().items() if type(part(tensor)) in (Tensor, nn.Parameter)
    }
    for key, tensor in sorted(plain.items(), key=lambda named: named[1].numel()):
        if numbers and numbers + tensor.numel() > WATCHED:
            return
        numbers += tensor.numel()
        yield key, tensor


def _copied(tensor: Tensor) -> Tensor:
    """Its bits, so that NaN is what it was."""
    return part(tensor.detach()).to("cpu", copy=True).flatten().view(torch.uint8)
