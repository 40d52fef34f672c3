"""Every bad row of a data set, found by reading all of it. Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.columns import LATENT_COLUMNS
from distill_core.data.reading.dataset import ParquetDataset, open_dataset
from distill_core.data.reading.files import find_parquet, read_facts
from distill_core.data.reading.kinds import Kind
from distill_core.errors import DataError
from distill_core.plugins.specs import ModelFacts

Listener = Callable[[int], None]
"""Hears how many rows have been read."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one row, or with a whole file.

    Attributes:
        file: the parquet file.
        row: its number there, from 0; None where the file as a whole cannot be read.
        reason: why.
    """

    file: str
    row: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}" if self.row is None else f"{self.file}:{self.row}: {self.reason}"


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        files: how many files there are.
        rows: how many rows there are in those that could be opened.
        faults: what is wrong, in the order of files and rows.
    """

    files: int
    rows: int
    faults: tuple[Fault, ...]


class Fit(Protocol):
    """Says why a row of some kind cannot be trained on, or None if it can."""

    def __call__(self, kind: Kind) -> str | None:
        """The reason."""
        ...


def examine(path: Path, facts: ModelFacts | None, listener: Listener) -> Examination:
    """Read every row of the data set at ``path``. Raises DataError only if there is none.

    A row is bad if it is damaged, has a null, a dtype or a shape that contradicts its bytes, or a value that is not finite; and if it
    does not fit the model of ``facts``. Where no model is given, channels and text width must be those of the most rows.
    """
    datasets: list[ParquetDataset] = []
    faults: list[Fault] = []
    paths = find_parquet(path)
    for file in paths:
        try:
            datasets.append(_open(file))
        except DataError as error:
            faults.append(Fault(str(file), None, str(error).removeprefix(f"{file} ")))
    kinds = [dataset.kinds.counts() for dataset in datasets]
    fit = _fits_most(kinds) if facts is None else _fits_model(facts)
    rows = 0
    for dataset in datasets:
        for index in range(len(dataset)):
            listener(rows)
            reason = _reason(dataset, index, fit)
            if reason is not None:
                faults.append(Fault(str(dataset.path), index, reason))
            rows += 1
    order = {str(file): number for number, file in enumerate(paths)}
    return Examination(len(paths), rows, tuple(sorted(faults, key=lambda fault: order[fault.file])))


def _open(file: Path) -> ParquetDataset:
    """One file as a data set, with its latents if it has any."""
    columns = read_facts(file, file).columns
    return open_dataset(file, latents=any(name in columns for name in LATENT_COLUMNS))


def _reason(dataset: ParquetDataset, index: int, fit: Fit) -> str | None:
    """Why a row is bad, or None if it is good."""
    try:
        row = dataset[index]
    except BadRowError as error:
        return error.reason
    latent = None if row.latent_CTHW is None else tuple(row.latent_CTHW.shape)
    return fit(Kind(latent, tuple(row.text_LD.shape)))


def _fits_model(facts: ModelFacts) -> Fit:
    """Whether a model can be trained on a row."""

    def reason(kind: Kind) -> str | None:
        """Why not."""
        length, width = kind.text_LD
        if width != facts.text_width:
            return f"its text has {width} features, the model's has {facts.text_width}"
        if length > facts.text_length:
            return f"its text has {length} tokens, the model reads {facts.text_length}"
        if kind.latent_CTHW is not None and (misfit := facts.misfit(kind.latent_CTHW)):
            return f"its latent {list(kind.latent_CTHW)} does not fit the model: {misfit}"
        return None

    return reason


def _fits_most(counts: Iterable[dict[Kind, int]]) -> Fit:
    """Whether a row has as many channels and text features as the most rows."""
    channels: Counter[int] = Counter()
    widths: Counter[int] = Counter()
    for kinds in counts:
        for kind, rows in kinds.items():
            widths[kind.text_LD[1]] += rows
            if kind.latent_CTHW is not None:
                channels[kind.latent_CTHW[0]] += rows

    usual_width = _most_common(widths)
    usual_channels = _most_common(channels)

    def reason(kind: Kind) -> str | None:
        """Why not."""
        if kind.text_LD[1] != usual_width:
            return f"its text has {kind.text_LD[1]} features, that of the most rows has {usual_width}"
        if kind.latent_CTHW is not None and kind.latent_CTHW[0] != usual_channels:
            return f"its latent has {kind.latent_CTHW[0]} channels, that of the most rows has {usual_channels}"
        return None

    return reason


def _most_common(counts: Counter[int]) -> int | None:
    """The number with the highest count; None if there is none."""
    return max(counts, key=lambda number: counts[number], default=None)
