"""What captions become: named tensors of one caption, and named tensors of a batch.

B batch, L tokens, D width of a text encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from distill_core.transfer import to_device

CaptionTensors = Mapping[str, Tensor]
"""One caption as float32 tensors on the CPU, by name, without a batch dimension. :data:`TOKENS` is one of them."""

TOKENS = "tokens"
"""The caption's embeddings [L, D], its own tokens only: what data store of it."""

MASK = "_mask"
"""``<name>_mask`` says, bool [B, L], what of a padded tensor is no padding."""


class CaptionCondition(Protocol):
    """A :class:`distill_core.protocols.Condition` that is made of captions."""

    def __len__(self) -> int:
        """The batch size B."""
        ...

    def select(self, rows: Tensor) -> Self:
        """The captions at ``rows`` (indices)."""
        ...

    def repeated(self, size: int) -> Self:
        """One caption as a batch of ``size``, without copies."""
        ...


@dataclass(frozen=True)
class NamedTensors:
    """The captions of a batch; a :class:`CaptionCondition`.

    Attributes:
        tensors: [B, ...] each, by name; what has one length per caption is padded with zeros, and has a mask beside it.
    """

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        """The batch size B."""
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, name: str) -> Tensor:
        """One tensor."""
        return self.tensors[name]

    def select(self, rows: Tensor) -> NamedTensors:
        """The captions at ``rows`` (indices)."""
        return NamedTensors({name: tensor[rows] for name, tensor in self.tensors.items()})

    def repeated(self, size: int) -> NamedTensors:
        """One caption as a batch of ``size``, without copies."""
        return NamedTensors({name: tensor.expand(size, *tensor.shape[1:]) for name, tensor in self.tensors.items()})


@dataclass(frozen=True)
class CaptionPadding:
    """How captions become :class:`NamedTensors`.

    Attributes:
        length: pad tokens to this many, for models that attend the padding; None pads to the longest of the batch, for those that mask it.
        device: where the batch lives.
    """

    length: int | None
    device: torch.device

    def pack(self, captions: Sequence[CaptionTensors]) -> NamedTensors:
        """Captions as one batch."""
        batch: dict[str, Tensor] = {}
        for name in captions[0]:
            each = [caption[name].float() for caption in captions]
            if each[0].ndim < 2:
                batch[name] = to_device(torch.stack(each), self.device)
                continue
            longest = max(len(one) for one in each) if self.length is None else self.length
            batch[name] = to_device(torch.stack([_lengthened(one, longest, dim=0) for one in each]), self.device)
            own_BL = torch.arange(longest) < torch.tensor([len(one) for one in each])[:, None]
            batch[name + MASK] = to_device(own_BL, self.device)
        return NamedTensors(batch)

    def mixed(self, condition: NamedTensors, other: NamedTensors, mask_B: Tensor) -> NamedTensors:
        """``other`` (of size 1 or B) where the mask is true, ``condition`` elsewhere."""
        mixed: dict[str, Tensor] = {}
        for name, mine in condition.tensors.items():
            theirs = other[name]
            if mine.ndim > 1 and mine.shape[1] != theirs.shape[1]:
                longest = max(mine.shape[1], theirs.shape[1])
                mine, theirs = _lengthened(mine, longest, dim=1), _lengthened(theirs, longest, dim=1)
            where = mask_B.to(self.device).view(-1, *(1 for _ in mine.shape[1:]))
            mixed[name] = torch.where(where, theirs, mine)
        return NamedTensors(mixed)


def _lengthened(tensor: Tensor, length: int, *, dim: int) -> Tensor:
    """Zeros (or False) at the end of ``dim``, up to ``length``."""
    after = tensor.ndim - 1 - dim
    return pad(tensor, (*(0, 0) * after, 0, length - tensor.shape[dim]))
