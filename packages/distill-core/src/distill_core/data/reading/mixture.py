"""Several data sets as one: their rows numbered through, each data set as often as the run draws from it. Knows no model."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import numpy as np

from distill_core.data.reading.dataset import ParquetDataset
from distill_core.protocols import Row


@dataclass(frozen=True)
class Part:
    """One data set of a mixture, and how often it is drawn from.

    Attributes:
        dataset: the data set.
        repeats: how often an epoch goes through it.
        share: the share of all samples that are drawn from it, in (0, 1]; None for every part of a mixture that goes by repeats.
    """

    dataset: ParquetDataset
    repeats: int = 1
    share: Fraction | None = None

    def fingerprint(self) -> str:
        """Another one means other files, or the same drawn more or less often. Without a share, once, it is the data set's layout."""
        once = self.dataset.layout()
        return "-".join([once] * self.repeats) if self.share is None else f"{once}*{self.share}"


class Mixture:
    """Rows by number: those of the first data set, then those of the next. One data set is a mixture of one.

    A number stands for a row, however often it is repeated.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        assert len({part.share is None for part in parts}) == 1, (
            "either all parts of a mixture have a share, or none has"
        )
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

    def source_of(self, caption: str) -> str | None:
        """The first row that has this caption, as ``file:row``; None where none has."""
        return next((found for part in self.parts if (found := part.dataset.source_of(caption)) is not None), None)

    def fingerprint(self) -> str:
        """Another one means other files, or the same in another mixture: the numbers of rows then stand for others."""
        return "-".join(part.fingerprint() for part in self.parts)

    def repeated(self, part: int, places: np.ndarray) -> np.ndarray:
        """The numbers of some rows of a part, as often as an epoch has them."""
        return np.tile(places.astype(np.int64) + self.first(part), self.parts[part].repeats)

    def _locate(self, index: int) -> tuple[int, int]:
        """The part that a row is of, and its number there."""
        number = bisect_right(self._ends, index)
        return number, index - self.first(number)
