"""The order in which a run sees its rows: endless, seeded, the same for every number of workers and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import torch

from distill_core.data.reading.apportionment import apportioned
from distill_core.randomness import key_bits

LatentShape = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Stratum:
    """Rows that are drawn equally often.

    Attributes:
        rows: their numbers, int64, at least one; a row that is repeated stands there several times.
        weight: how often they are drawn all together, against other strata.
    """

    rows: np.ndarray
    weight: Fraction


@dataclass(frozen=True, eq=False)
class Bucket:
    """Rows that make a batch with each other.

    Attributes:
        latent_shape: [T, C, H, W] that they are trained at.
        strata: the rows, at least one stratum; several where data sets have weights.
    """

    latent_shape: LatentShape
    strata: tuple[Stratum, ...]

    @classmethod
    def of(cls, latent_shape: LatentShape, rows: np.ndarray) -> Bucket:
        """Rows that are drawn equally often, as often as each row of another such bucket."""
        return cls(latent_shape, (Stratum(rows, Fraction(len(rows))),))

    @cached_property
    def rows(self) -> np.ndarray:
        """The numbers of all rows, int64."""
        return np.concatenate([stratum.rows for stratum in self.strata])

    @cached_property
    def weight(self) -> Fraction:
        """How often its rows are drawn all together, against other buckets."""
        return sum((stratum.weight for stratum in self.strata), Fraction(0))

    @cached_property
    def different(self) -> int:
        """How many rows there are, each counted once, however often it is repeated."""
        return int(np.count_nonzero(np.bincount(self.rows)))

    def alike(self, row: int) -> np.ndarray:
        """The numbers of the rows that are drawn as often as this one: those of its stratum."""
        return next(stratum.rows for stratum in self.strata if row in stratum.rows)


class RowOrder:
    """Epoch after epoch of permutations, each keyed by (seed, epoch), put end to end without dropping a row.

    Sample s, counted from 0, is row ``order[s]``. Keeps the permutation of one epoch, 8 bytes a row. Orders of different ``key`` are
    independent of each other.
    """

    def __init__(self, rows: int, seed: int, *key: object) -> None:
        assert rows > 0
        self.rows = rows
        self.seed = seed
        self._key = key
        self._epoch = -1
        self._permutation = np.empty(0, np.int64)

    def __getitem__(self, sample: int) -> int:
        """The row of one sample, sample ≥ 0."""
        epoch, place = divmod(sample, self.rows)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(key_bits(self.seed, "row order", epoch, *self._key))
            self._permutation = torch.randperm(self.rows, generator=generator).numpy()
            self._epoch = epoch
        return int(self._permutation[place])


class BatchOrder:
    """Which rows make which batch: endless, and a function of the batch's number alone.

    Each bucket is an endless order of rows of its own, of which a batch takes the next ``batch_size``, so that no row is dropped or
    padded for, however the batch size divides the bucket. What bucket a batch is of goes by rounds of as many batches as there are rows:
    in a round each bucket has its share of them, at shuffled places. Without weights a bucket of n rows has n batches in a round, and the
    round is ``batch_size`` epochs of every bucket; with one bucket there is nothing to shuffle, and its rows come end to end.
    """

    def __init__(self, buckets: Sequence[Bucket], seed: int, batch_size: int) -> None:
        self.buckets = tuple(buckets)
        self._batch_size = batch_size
        self._orders = [_BucketOrder(bucket, seed) for bucket in buckets]
        rows = sum(len(bucket.rows) for bucket in buckets)
        self._turns = _Turns([bucket.weight for bucket in buckets], rows, seed, "bucket order")

    def __getitem__(self, batch: int) -> tuple[Bucket, list[int]]:
        """The bucket of one batch, batch ≥ 0, and the numbers of its rows."""
        number, place = self._turns[batch]
        order = self._orders[number]
        first = place * self._batch_size
        return self.buckets[number], [order[sample] for sample in range(first, first + self._batch_size)]


class _BucketOrder:
    """The rows of one bucket, sample after sample: each stratum in a :class:`RowOrder` of its own, and they take turns.

    An epoch has as many samples as the bucket has rows, and of each stratum its share of them. A stratum that is smaller than its share
    goes round again, a larger one goes on in the next epoch where it was: none of its rows is ever one epoch of its own ahead of another.
    """

    def __init__(self, bucket: Bucket, seed: int) -> None:
        strata = bucket.strata
        keys = [()] if len(strata) == 1 else [("stratum", number) for number in range(len(strata))]
        self._rows = [stratum.rows for stratum in strata]
        self._orders = [RowOrder(len(rows), seed, *key) for rows, key in zip(self._rows, keys, strict=True)]
        self._turns = _Turns([stratum.weight for stratum in strata], len(bucket.rows), seed, "stratum order")

    def __getitem__(self, sample: int) -> int:
        """The row of one sample, sample ≥ 0."""
        number, place = self._turns[sample]
        return int(self._rows[number][self._orders[number][place]])


class _Turns:
    """Endless turns of several takers: in each round of ``length`` turns every taker has its share of them, at shuffled places.

    After any number of rounds each has had its share of all turns, apportioned. Keeps one round, 12 bytes a turn.
    """

    def __init__(self, weights: Sequence[Fraction], length: int, seed: int, name: str) -> None:
        self._weights = tuple(weights)
        self._length = length
        self._seed = seed
        self._name = name
        self._round = -1
        self._takers = self._places = np.empty(0, np.int64)

    def __getitem__(self, turn: int) -> tuple[int, int]:
        """The taker of a turn, turn ≥ 0, and how many turns it has had before."""
        if len(self._weights) == 1:
            return 0, turn
        number, place = divmod(turn, self._length)
        if number != self._round:
            self._shuffle(number)
        return int(self._takers[place]), int(self._places[place])

    def _shuffle(self, number: int) -> None:
        """Lay out one round: the taker of each turn, and how many it has had before."""
        before, after = (apportioned(rounds * self._length, self._weights) for rounds in (number, number + 1))
        turns = np.subtract(after, before)
        generator = torch.Generator().manual_seed(key_bits(self._seed, self._name, number))
        shuffled = torch.randperm(self._length, generator=generator).numpy()
        takers = np.repeat(np.arange(len(turns), dtype=np.int32), turns)[shuffled]
        places = np.empty(self._length, np.int64)
        places[np.argsort(takers, kind="stable")] = np.concatenate(list(map(np.arange, before, after)))
        self._takers, self._places, self._round = takers, places, number
