"""What predictions are conditioned on: a family's own value, made of what a person says and shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Condition(Protocol):
    """The conditions of a batch: captions, and whatever else a family is conditioned on (a first frame, a reference clip, a pose).

    A family's own type. Methods pass it on and never look inside.
    """

    def __len__(self) -> int:
        """The batch size B."""
        ...

    def select(self, rows: Tensor) -> Condition:
        """The conditions at ``rows`` (indices; one may come twice)."""
        ...


@dataclass(frozen=True)
class Prompt:
    """One thing to condition on, as a person gives it.

    Attributes:
        text: the caption.
        first_frame: uint8 [H, W, 3] that the video should begin with, for families that take one.
        last_frame: uint8 [H, W, 3] that it should end with.
    """

    text: str
    first_frame: Tensor | None = None
    last_frame: Tensor | None = None
