"""Every bad row of a data set, found by reading all of it. Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from distill_core.data.examining.normalisation import ChannelMoments, normalised_note
from distill_core.data.examining.provenance import OwnEncoders
from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.columns import LATENT_COLUMNS, further_tensors
from distill_core.data.reading.dataset import NoRowsError, ParquetDataset, open_dataset
from distill_core.data.reading.files import ParquetFacts, find_parquet, read_facts
from distill_core.data.reading.fit import check_recorded_length
from distill_core.data.reading.kinds import Kind
from distill_core.errors import DataError
from distill_core.plugins.specs import ModelFacts
from distill_core.protocols import Row

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
        notes: what is no fault, and may not be meant.
    """

    files: int
    rows: int
    faults: tuple[Fault, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Against:
    """The model that rows must fit.

    Attributes:
        facts: what its folder says.
        family: the family's name.
        name: the model, as it was given.
    """

    facts: ModelFacts
    family: str
    name: str


class Fit(Protocol):
    """Says why a row of some kind cannot be trained on, or None if it can."""

    def __call__(self, kind: Kind) -> str | None:
        """The reason."""
        ...


def examine(path: Path, model: Against | None, listener: Listener) -> Examination:
    """Read every row of the data set at ``path``. Raises DataError only if there is none.

    A row is bad if it is damaged, has a null, a dtype or a shape that contradicts its bytes, or a value that is not finite; and if it
    does not fit the ``model``. Where none is given, channels and text width must be those of the most rows. What is bad for every
    row of a file is said once.
    """
    datasets: list[ParquetDataset] = []
    faults: list[Fault] = []
    paths = find_parquet(path)
    empty = []
    for file in paths:
        try:
            dataset = _open(file)
            if model is not None:
                check_recorded_length(str(file), dataset.text_lengths, model.facts)
            datasets.append(dataset)
        except BadRowError as error:
            faults.append(Fault(str(file), error.row, error.reason))
        except NoRowsError:
            empty.append(file)
        except DataError as error:
            faults.append(Fault(str(file), None, str(error).removeprefix(f"{file} ")))
    if len(empty) == len(paths):
        faults += [Fault(str(file), None, "holds no row") for file in empty]
    fit = _fits_most([dataset.kinds.counts() for dataset in datasets]) if model is None else _fits_model(model.facts)
    watch = _Watch(path, model)
    rows = 0
    for dataset in datasets:
        watch.file(dataset)
        for index in range(len(dataset)):
            listener(rows)
            reason = _reason(dataset, index, fit, watch)
            if reason is not None:
                faults.append(Fault(str(dataset.path), index, reason))
            rows += 1
    order = {str(file): number for number, file in enumerate(paths)}
    ordered = tuple(sorted(faults, key=lambda fault: order[fault.file]))
    return Examination(len(paths), rows, ordered, (*(f"{file} holds no row" for file in empty), *watch.notes()))


def _open(file: Path) -> ParquetDataset:
    """One file as a data set, with its latents if it has any, and with every further tensor that it holds."""
    columns = read_facts(file, file).columns
    latents = any(name in columns for name in LATENT_COLUMNS)
    return open_dataset(file, latents=latents, declared=further_tensors(columns))


class _Watch:
    """What is noticed in passing, over all rows."""

    def __init__(self, path: Path, model: Against | None) -> None:
        self._path = path
        self._model = model
        self._own = None if model is None else OwnEncoders(model.family, model.name, model.facts)
        self._moments = ChannelMoments()
        self._files: list[ParquetFacts] = []
        self._alone: list[Path] = []
        self._strange: list[str] = []
        self._ids: Counter[str] = Counter()

    def file(self, dataset: ParquetDataset) -> None:
        """Notice a file."""
        self._files += dataset.files
        if not dataset.latents:
            self._alone.append(dataset.path)
            self._strange += [
                f"{dataset.path}: {name}" for file in dataset.files for name in file.columns if "latent" in name
            ]

    def row(self, row: Row) -> None:
        """Notice a good row."""
        self._ids[row.id] += 1
        if row.latent_CTHW is not None and self._model is not None:
            self._moments.add(row.latent_CTHW)

    def notes(self) -> Iterator[str]:
        """What there is to say."""
        if self._alone and len(self._alone) < len(self._files):
            yield (
                f"{self._alone[0]} holds captions without latents, and other files hold latents: a run that needs latents refuses the "
                "data set as a whole"
            )
        if self._strange:
            yield f"{self._strange[0]} is not read (a latent stands in {', '.join(LATENT_COLUMNS)}): these rows are captions alone"
        often, times = max(self._ids.items(), key=lambda item: item[1], default=("", 1))
        if times > 1:
            yield f"ids are not unique: {times} rows are called {often!r}"
        if self._own is not None and self._model is not None:
            yield from self._own.notes(self._path, self._files)
            note = normalised_note(self._moments, self._model.facts.latent_space, self._path)
            if note is not None:
                yield note


def _reason(dataset: ParquetDataset, index: int, fit: Fit, watch: _Watch) -> str | None:
    """Why a row is bad, or None if it is good."""
    try:
        row = dataset[index]
    except BadRowError as error:
        return error.reason
    watch.row(row)
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
