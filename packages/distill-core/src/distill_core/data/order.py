"""The order in which a run sees its rows: endless, seeded, the same for every number of workers and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from distill_core.randomness import key_bits

LatentShape = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Bucket:
    """Rows that make a batch with each other.

    Attributes:
        latent_shape: [T, C, H, W] that they are trained at.
        rows: their numbers, int64; a row that is repeated stands there several times.
    """

    latent_shape: LatentShape
    rows: np.ndarray


class RowOrder:
    """Epoch after epoch of permutations, each keyed by (seed, epoch), put end to end without dropping a row.

    Sample s, counted from 0, is row ``order[s]``. Keeps the permutation of one epoch, 8 bytes a row.
    """

    def __init__(self, rows: int, seed: int) -> None:
        assert rows > 0
        self.rows = rows
        self.seed = seed
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.int64)

    def __getitem__(self, sample: int) -> int:
        """The row of one sample, sample ≥ 0."""
        epoch, place = divmod(sample, self.rows)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(key_bits(self.seed, "row order", epoch))
            self._permutation = torch.randperm(self.rows, generator=generator)
            self._epoch = epoch
        return int(self._permutation[place])


class BatchOrder:
    """Which rows make which batch: endless, and a function of the batch's number alone.

    Each bucket is an endless :class:`RowOrder` of its own, of which a batch takes the next ``batch_size`` rows, so that no row
    is dropped or padded for, however the batch size divides the bucket. What bucket a batch is of goes by rounds of as many batches
    as there are rows: in a round, a bucket of n rows has n batches, at places shuffled by key (seed, round). A round is thus
    ``batch_size`` epochs of every bucket; with one bucket there is nothing to shuffle, and its rows come end to end.
    """

    def __init__(self, buckets: Sequence[Bucket], seed: int, batch_size: int) -> None:
        self.buckets = tuple(buckets)
        self._batch_size = batch_size
        self._orders = [RowOrder(len(bucket.rows), seed) for bucket in buckets]
        self._rounds = _Rounds([len(bucket.rows) for bucket in buckets], seed)

    def __getitem__(self, batch: int) -> tuple[Bucket, list[int]]:
        """The bucket of one batch, batch ≥ 0, and the numbers of its rows."""
        number, place = self._rounds[batch]
        bucket, order = self.buckets[number], self._orders[number]
        first = place * self._batch_size
        return bucket, [int(bucket.rows[order[sample]]) for sample in range(first, first + self._batch_size)]


class _Rounds:
    """Endless numbers, in each round n_b times the number b of a bucket of n_b rows. Keeps one round, 12 bytes a row."""

    def __init__(self, sizes: Sequence[int], seed: int) -> None:
        self._sizes = np.array(sizes)
        self._seed = seed
        self._round = -1
        self._numbers = self._places = np.empty(0, np.int64)

    def __getitem__(self, batch: int) -> tuple[int, int]:
        """The bucket of a batch, and how many batches that bucket had before."""
        if len(self._sizes) == 1:
            return 0, batch
        number_of_round, place = divmod(batch, int(self._sizes.sum()))
        if number_of_round != self._round:
            self._shuffle(number_of_round)
        bucket = int(self._numbers[place])
        return bucket, number_of_round * int(self._sizes[bucket]) + int(self._places[place])

    def _shuffle(self, number_of_round: int) -> None:
        """Lay out one round: the bucket of each batch, and how many that bucket had before it in the round."""
        total = int(self._sizes.sum())
        generator = torch.Generator().manual_seed(key_bits(self._seed, "bucket order", number_of_round))
        shuffled = torch.randperm(total, generator=generator).numpy()
        numbers = np.repeat(np.arange(len(self._sizes), dtype=np.int32), self._sizes)[shuffled]
        by_bucket = np.argsort(numbers, kind="stable")
        places = np.empty(total, np.int64)
        places[by_bucket] = np.concatenate([np.arange(size) for size in self._sizes])
        self._numbers, self._places, self._round = numbers, places, number_of_round
