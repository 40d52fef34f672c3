"""Several data sets as one: their rows numbered through, each data set as often as the run repeats it. Knows no model."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from distill_core.data.dataset import ParquetDataset
from distill_core.protocols import Row


@dataclass(frozen=True)
class Part:
    """One data set of a mixture, and how often an epoch goes through it."""

    dataset: ParquetDataset
    repeats: int = 1


class Mixture:
    """Rows by number: those of the first data set, then those of the next. One data set is a mixture of one.

    A number stands for a row, however often it is repeated; :attr:`entries` says which rows make an epoch.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self._ends = tuple(accumulate(len(part.dataset) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Row:
        """The row ``index``. Raises BadRowError if it is malformed."""
        number, place = self._locate(index)
        return self.parts[number].dataset[place]

    def first(self, part: int) -> int:
        """The number that the first row of a part has."""
        return self._ends[part - 1] if part else 0

    def where(self, index: int) -> tuple[Path, int]:
        """The file that a row lies in, and its number there."""
        number, place = self._locate(index)
        file, row = self.parts[number].dataset.locate(place)
        return file.path, row

    def captions(self, count: int) -> tuple[str, ...]:
        """The first ``count`` distinct captions, or as many as there are."""
        found = dict.fromkeys(caption for part in self.parts for caption in part.dataset.captions(count))
        return tuple(found)[:count]

    def fingerprint(self) -> str:
        """Another one means other data, or the same in another mixture. That of one data set is its own."""
        return "-".join(part.dataset.fingerprint() for part in self.parts for _ in range(part.repeats))

    def repeated(self, part: int, places: np.ndarray) -> np.ndarray:
        """The numbers of some rows of a part, as often as an epoch has them."""
        return np.tile(places.astype(np.int64) + self.first(part), self.parts[part].repeats)

    def _locate(self, index: int) -> tuple[int, int]:
        """The part that a row is of, and its number there."""
        number = bisect_right(self._ends, index)
        return number, index - self.first(number)
