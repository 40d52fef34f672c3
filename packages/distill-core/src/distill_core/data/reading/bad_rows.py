"""Rows that cannot be trained on: how they are named, and the list that a run keeps of those it passes over.

Knows neither what is wrong with a row nor which row comes in its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from distill_core.errors import DataError

MOST_BAD = 0.1
"""The share of rows that a run passes over at most; more than that is no accident."""


class BadRowError(DataError):
    """One row that cannot be trained on; the message is ``file:row: reason``."""

    def __init__(self, path: Path, row: int, reason: str) -> None:
        super().__init__(f"{path}:{row}: {reason}")
        self.path = path
        self.row = row
        self.reason = reason


@dataclass(frozen=True)
class BadRow:
    """A row that is passed over.

    Attributes:
        index: its number among all rows of the run.
        file: the parquet file.
        row: its number there, from 0.
        reason: what is wrong with it.
    """

    index: int
    file: str
    row: int
    reason: str

    @classmethod
    def of(cls, index: int, error: BadRowError) -> BadRow:
        """The row that an error is about."""
        return cls(index, str(error.path), error.row, error.reason)


class Quarantine:
    """The bad rows of a run, in memory and in a file of the run directory, a line of JSON each.

    A row on the list stays out when the run is resumed, also if it can be read by then: the samples of a run do not depend on
    how often it was stopped. Lines that belong to other data (another fingerprint) are ignored.
    """

    def __init__(self, path: Path, fingerprint: str, rows: int, listener: Callable[[BadRow], None]) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self._most = max(1, int(rows * MOST_BAD))
        self._rows = rows
        self._listener = listener
        self._indices = {row.index for row in self._read()}

    def __contains__(self, index: int) -> bool:
        return index in self._indices

    def __len__(self) -> int:
        return len(self._indices)

    def add(self, rows: Iterable[BadRow]) -> None:
        """Put rows on the list, each once. Raises DataError if it becomes too long."""
        for row in rows:
            if row.index in self._indices:
                continue
            self._indices.add(row.index)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"data": self._fingerprint, **asdict(row)}, ensure_ascii=False) + "\n")
            self._listener(row)
            if len(self._indices) > self._most:
                raise DataError(
                    f"{len(self._indices)} of {self._rows} rows are bad, which is more than data.on_bad_row: skip passes over; "
                    f"`distill data validate` finds them all; the last one is {row.file}:{row.row}: {row.reason}"
                )

    def _read(self) -> list[BadRow]:
        """The list as it was left."""
        if not self._path.exists():
            return []
        lines = [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
        return [BadRow(**line) for line in lines if line.pop("data") == self._fingerprint]
