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


class Store(Protocol[CaptionT]):
    """Where captions are kept beyond the process."""

    def get(self, caption: str) -> CaptionT | None:
        """What was kept of a caption, or None."""
        ...

    def put(self, caption: str, made: CaptionT) -> None:
        """Keep a caption."""
        ...


class KeptCaptions(Generic[CaptionT]):
    """Remembers the captions of the latest calls, and all of them where there is a store.

    Attributes:
        store: where captions are looked for before they are encoded, and kept when they are; None: nowhere.

    ``foreseen`` are captions that will be asked for some day: they are encoded along with the first, so that the encoder need not come
    back for them.
    """

    def __init__(self, encoder: ReleasableEncoder[CaptionT], foreseen: Sequence[str]) -> None:
        self._encoder = encoder
        self._foreseen = tuple(foreseen)
        self._kept: OrderedDict[str, CaptionT] = OrderedDict()
        self.store: Store[CaptionT] | None = None

    def ahead(self, captions: Sequence[str]) -> None:
        """Encode captions that will be asked for, and those that are foreseen; the encoder is loaded once, if at all, and released."""
        encoded = [self._remember(caption) for caption in dict.fromkeys((*self._foreseen, *captions))]
        if any(encoded):
            self._encoder.release()
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _remember(self, caption: str) -> bool:
        """Have a caption in memory. Returns whether it had to be encoded."""
        if caption in self._kept:
            return False
        found = None if self.store is None else self.store.get(caption)
        self._kept[caption] = self._encoder(caption) if found is None else found
        if found is None and self.store is not None:
            self.store.put(caption, self._kept[caption])
        return found is None

    def __call__(self, captions: Sequence[str]) -> list[CaptionT]:
        """Captions, on the CPU. The encoder is used for new ones only, and released before this returns."""
        if any(caption not in self._kept for caption in captions):
            encoded = [self._remember(caption) for caption in dict.fromkeys((*self._foreseen, *captions))]
            if any(encoded):
                self._encoder.release()
        for caption in captions:
            self._kept.move_to_end(caption)
        found = [self._kept[caption] for caption in captions]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found
