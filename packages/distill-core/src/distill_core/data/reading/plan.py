"""What a run trains on: the rows of its data by the shape that they are trained at, and the rows that cannot be trained on.

Decided from shape columns alone, before any weight is loaded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from distill_core.config.schema import Data
from distill_core.data.reading.bad_rows import BadRow, BadRowError
from distill_core.data.reading.dataset import DatasetSummary, ParquetDataset
from distill_core.data.reading.fit import fitting_shapes
from distill_core.data.reading.kinds import Kind
from distill_core.data.reading.mixture import Mixture
from distill_core.data.reading.order import Bucket, LatentShape, Stratum
from distill_core.errors import DataError
from distill_core.plugins.specs import ModelFacts


@dataclass(frozen=True)
class DataPlan:
    """The rows of a run.

    Attributes:
        buckets: the rows by shape, the shape with the most samples first.
        bad: rows that are passed over; none where ``data.on_bad_row`` is refuse.
    """

    buckets: tuple[Bucket, ...]
    bad: tuple[BadRow, ...]

    @property
    def latent_shape(self) -> LatentShape:
        """[T, C, H, W] of the most samples: what a run samples at."""
        return self.buckets[0].latent_shape

    @property
    def different(self) -> int:
        """How many rows it trains on, each counted once: a row is of one shape."""
        return sum(bucket.different for bucket in self.buckets)


def plan_data(mixture: Mixture, models: Iterable[ModelFacts], data: Data) -> DataPlan:
    """The plan of a run whose roles are of these models. Raises DataError if data, models and section ``data`` do not agree.

    With ``data.on_bad_row: skip`` a row that does not fit is passed over, as long as others of its data set fit.
    """
    models = tuple(models)
    strata: defaultdict[LatentShape, list[Stratum]] = defaultdict(list)
    bad: list[BadRow] = []
    for number, part in enumerate(mixture.parts):
        fit = _fit(part.dataset, models, data)
        rows: defaultdict[LatentShape, list[np.ndarray]] = defaultdict(list)
        for kind, shape in fit.shapes.items():
            rows[shape].append(mixture.repeated(number, part.dataset.kinds.rows_of(kind)))
        for shape, stratum in _strata(rows, part.share).items():
            strata[shape].append(stratum)
        first = mixture.first(number)
        bad += [BadRow.of(first + place, error) for place, error in sorted(fit.bad.items())]
    by_repeats = mixture.parts[0].share is None
    buckets = [Bucket(shape, (_united(found),) if by_repeats else tuple(found)) for shape, found in strata.items()]
    return DataPlan(tuple(sorted(buckets, key=lambda bucket: (-bucket.weight, bucket.latent_shape))), tuple(bad))


def _strata(rows: Mapping[LatentShape, Sequence[np.ndarray]], share: Fraction | None) -> dict[LatentShape, Stratum]:
    """The rows of one data set by their shape. Each row weighs 1, or what is due to it of the ``share`` of the data set."""
    joined = {shape: np.sort(np.concatenate(parts)) for shape, parts in rows.items()}
    each = Fraction(1) if share is None else share / sum(map(len, joined.values()))
    return {shape: Stratum(numbers, each * len(numbers)) for shape, numbers in joined.items()}


def _united(strata: Sequence[Stratum]) -> Stratum:
    """Rows that weigh the same, in their order."""
    rows = np.sort(np.concatenate([stratum.rows for stratum in strata]))
    return Stratum(rows, sum((stratum.weight for stratum in strata), Fraction(0)))


@dataclass(frozen=True)
class _Fit:
    """How one data set fits: the shape that each kind of row is trained at, and the rows that are passed over."""

    shapes: Mapping[Kind, LatentShape]
    bad: Mapping[int, BadRowError]


def _fit(dataset: ParquetDataset, models: Sequence[ModelFacts], data: Data) -> _Fit:
    """Raises DataError for a row that does not fit or, where those may be skipped, if not one fits."""
    kinds = dataset.kinds
    if data.on_bad_row == "refuse" or not kinds.kinds:
        return _Fit(_shapes(dataset.summary(), models, data), {})
    counts = kinds.counts()
    whole = DatasetSummary(dataset.path, dataset.latents, counts, dataset.text_lengths)
    alone = {kind: replace(whole, kinds={kind: rows}) for kind, rows in counts.items()}
    reasons = {kind: _misfit(summary, models, data) for kind, summary in alone.items()}
    fitting = {kind: rows for kind, rows in counts.items() if reasons[kind] is None}
    shapes = _shapes(replace(whole, kinds=fitting if fitting else counts), models, data)
    bad = dict(kinds.faults)
    for kind, reason in reasons.items():
        for place in kinds.rows_of(kind).tolist() if reason is not None else ():
            file, row = dataset.locate(place)
            bad[place] = BadRowError(file.path, row, str(reason))
    return _Fit(shapes, bad)


def _misfit(summary: DatasetSummary, models: Sequence[ModelFacts], data: Data) -> str | None:
    """Why rows cannot be trained on, or None if they can."""
    try:
        _shapes(summary, models, data)
    except DataError as error:
        return str(error)
    return None


def _shapes(summary: DatasetSummary, models: Sequence[ModelFacts], data: Data) -> Mapping[Kind, LatentShape]:
    """The shape that each kind of row is trained at, which is the same for every model that it fits."""
    return [fitting_shapes(summary, model, data) for model in models][-1]
