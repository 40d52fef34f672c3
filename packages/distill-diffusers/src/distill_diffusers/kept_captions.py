"""Captions that a run asks for again and again, each encoded once. What encodes them is let go in between: UMT5 takes 11 GB in bfloat16."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

CaptionT = TypeVar("CaptionT")
"""What a family makes of one caption."""

CaptionT_co = TypeVar("CaptionT_co", covariant=True)

KEPT = 512
"""Captions that are remembered; at 100 tokens of real width each takes 1.6 MB."""


class ReleasableEncoder(Protocol[CaptionT_co]):
    """What encodes a caption; its weights come with the first and go when they are released."""

    def __call__(self, caption: str) -> CaptionT_co:
        """One caption, on the CPU."""
        ...

    def release(self) -> None:
        """Let the weights go."""
        ...


class KeptCaptions(Generic[CaptionT]):
    """Remembers the captions of the latest calls.

    ``foreseen`` are captions that will be asked for some day: they are encoded along with the first, so that the encoder need not come
    back for them.
    """

    def __init__(self, encoder: ReleasableEncoder[CaptionT], foreseen: Sequence[str]) -> None:
        self._encoder = encoder
        self._foreseen = tuple(foreseen)
        self._kept: OrderedDict[str, CaptionT] = OrderedDict()

    def __call__(self, captions: Sequence[str]) -> list[CaptionT]:
        """Captions, on the CPU. The encoder is used for new ones only, and released before this returns."""
        new = dict.fromkeys(caption for caption in captions if caption not in self._kept)
        if new:
            ahead = dict.fromkeys(caption for caption in self._foreseen if caption not in self._kept)
            for caption in ahead | new:
                self._kept[caption] = self._encoder(caption)
            self._encoder.release()
        for caption in captions:
            self._kept.move_to_end(caption)
        found = [self._kept[caption] for caption in captions]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found
