"""Rows that cannot be trained on: how they are named, and the list that a run keeps of those it passes over.

Knows neither what is wrong with a row nor which row comes in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from distill_core.durable import appending, aside, sealed, unsealed, write_text
from distill_core.errors import DataError
from distill_core.ranks.ranks import Ranks
from distill_core.redaction import redact_mapping

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


def _unheard(_: str) -> None:
    """Where nobody listens."""


class Quarantine:
    """The bad rows of a run, in memory and in a file of the run directory, a line of sealed JSON each.

    A row on the list stays out when the run is resumed, also if it can be read by then: the samples of a run do not depend on
    how often it was stopped. Lines that belong to other data (another fingerprint) are ignored. A list with a line that is not what was
    written is moved aside, which ``say`` is told, and gone on with without it: such a row is found again when it is read.
    """

    def __init__(
        self,
        path: Path,
        fingerprint: str,
        rows: int,
        listener: Callable[[BadRow], None],
        say: Callable[[str], None] = _unheard,
        *,
        first: bool = True,
    ) -> None:
        """``first``: whether this is the process of the run that keeps the file; the others learn of it by :meth:`share`."""
        self._path = path
        self._first = first
        self._fingerprint = fingerprint
        self._most = max(1, int(rows * MOST_BAD))
        self._rows = rows
        self._listener = listener
        self._untold = self._read(say) if first else []
        self._indices = {row.index for row in self._untold}

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
            self._untold.append(row)
            if self._first:
                with appending(self._path) as file:
                    file.write(sealed({"data": self._fingerprint, **redact_mapping(asdict(row))}, indent=None) + "\n")
                self._listener(row)
            if len(self._indices) > self._most:
                raise DataError(
                    f"{len(self._indices)} of {self._rows} rows are bad, which is more than data.on_bad_row: skip passes over; "
                    f"`distill data validate` finds them all; the last one is {row.file}:{row.row}: {row.reason}"
                )

    def share(self, ranks: Ranks) -> None:
        """Add the rows that other ranks have found since the last time."""
        untold, self._untold = self._untold, []
        if not ranks.alone:
            found = ranks.gather(untold)
            self.add(row for theirs in found for row in theirs)
            self._untold = []

    def _read(self, say: Callable[[str], None]) -> list[BadRow]:
        """The list as it was left."""
        if not self._path.exists():
            return []
        content = self._path.read_bytes()
        *lines, cut_short = content.split(b"\n")
        rows: list[BadRow] = []
        whole: list[bytes] = []
        for line in lines:
            try:
                found = unsealed(line, indent=None)
                if found.pop("data") == self._fingerprint:
                    rows.append(_BAD_ROW.validate_python(found))
                whole.append(line)
            except (ValueError, LookupError):
                continue
        if len(whole) < len(lines):
            say(
                f"{len(lines) - len(whole)} lines of {self._path} are damaged, and left out; the file is now {aside(self._path)}"
            )
        if len(whole) < len(lines) or cut_short:
            write_text(self._path, "".join(f"{line.decode()}\n" for line in whole))
        return rows


_BAD_ROW = TypeAdapter(BadRow)
