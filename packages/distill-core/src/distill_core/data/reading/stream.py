"""The rows of a run, micro-batch after micro-batch, without end.

Its whole state is the number of samples that all ranks have drawn; the epoch follows from it. Nothing else (thread, batch read
ahead, random state) has a say in what comes next, so a run goes on exactly where it stopped, also with other workers or ranks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple, Protocol

from distill_core.data.reading.bad_rows import BadRow, BadRowError, Quarantine
from distill_core.data.reading.order import BatchOrder, Bucket, LatentShape
from distill_core.errors import CheckpointError, DataError
from distill_core.protocols import Row
from distill_core.randomness import key_bits
from distill_core.ranks.ranks import Ranks

BATCHES_AHEAD = 2
"""Micro-batches that each worker reads ahead."""
MOST_SUBSTITUTES = 100
"""So many bad rows one after another, each picked at random, are no accident."""


class RowSource(Protocol):
    """What a stream reads from, e.g. a :class:`distill_core.data.reading.mixture.Mixture`; from several threads, if it has workers."""

    def __len__(self) -> int:
        """Number of rows, at least 1."""
        ...

    def __getitem__(self, index: int, /) -> Row:
        """One row. Raises BadRowError if it is malformed."""
        ...

    def fingerprint(self) -> str:
        """Differs where the rows, or their order, differ."""
        ...


class RowBatch(NamedTuple):
    """One micro-batch of one rank.

    Attributes:
        rows: the rows of this rank.
        positions: for each, its place in the micro-batch of all ranks.
        latent_shape: [T, C, H, W] that they are trained at.
    """

    rows: tuple[Row, ...]
    positions: tuple[int, ...]
    latent_shape: LatentShape


class _Read(NamedTuple):
    """A micro-batch as a worker hands it over, with the bad rows that it met."""

    rows: tuple[Row, ...]
    latent_shape: LatentShape
    bad: tuple[BadRow, ...]


class RowStream(Iterator[RowBatch]):
    """Draws micro-batches of ``batch_size`` rows, and of each the share of one rank.

    On w ranks, rank r takes the r-th of w equal parts of each batch, so that a batch is the same rows on any number of them; w divides
    ``batch_size``. ``num_workers`` threads read ahead; 0 reads when drawn. ``pin_memory`` puts rows where a GPU copies from by itself.

    Drawing raises BadRowError for a malformed row. With a ``quarantine`` such a row is put there instead, and a row of the same
    bucket takes its place, of the same stratum if it has a good one, picked by a key of the sample: neither a resume nor another
    number of ranks picks another one. ``any_data``: whether it goes on from a position in other data too, as many samples on in its own
    order.
    """

    def __init__(
        self,
        source: RowSource,
        buckets: Sequence[Bucket],
        *,
        seed: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        quarantine: Quarantine | None = None,
        any_data: bool = False,
    ) -> None:
        self._source = source
        self._any_data = any_data
        self._fingerprint = source.fingerprint()
        self._order = BatchOrder(buckets, seed, batch_size)
        self._seed = seed
        self._batch_size = batch_size
        self._share, left = divmod(batch_size, world_size)
        assert not left, f"{world_size} ranks do not share {batch_size} rows equally"
        self._first = rank * self._share
        self._num_workers = num_workers
        self._pin_memory = pin_memory
        self._quarantine = quarantine
        self._samples = 0
        self._ahead: deque[Future[_Read]] = deque()
        self._threads: ThreadPoolExecutor | None = None

    def __next__(self) -> RowBatch:
        """The next micro-batch."""
        try:
            read = self._next_read()
            if self._quarantine is not None:
                self._quarantine.add(read.bad)
        except DataError:
            self.close()
            raise
        self._samples += self._batch_size
        return RowBatch(read.rows, tuple(range(self._first, self._first + self._share)), read.latent_shape)

    def state_dict(self) -> dict[str, object]:
        """The position, as JSON has it."""
        return {"samples": self._samples, "rows": len(self._source), "fingerprint": self._fingerprint}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from a position. Raises CheckpointError if it belongs to other data, unless that is accepted."""
        if state["fingerprint"] != self._fingerprint and not self._any_data:
            raise CheckpointError(
                f"the data have changed since the checkpoint was written ({state['rows']} rows then, "
                f"{len(self._source)} now); put the same data set back, start a new run in another output_dir, or go on with these by "
                "checkpoint.accept=[data]"
            )
        samples = state["samples"]
        assert isinstance(samples, int)
        self.close()
        self._samples = samples

    def share(self, ranks: Ranks) -> None:
        """Let every rank know of the bad rows that another one has met, so that the first one lists them."""
        if self._quarantine is not None:
            self._quarantine.share(ranks)

    def close(self) -> None:
        """Stop the threads, if there are any. Drawing on starts new ones."""
        for future in self._ahead:
            future.cancel()
        self._ahead.clear()
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    def _next_read(self) -> _Read:
        """The micro-batch at the position, read now or ahead."""
        batch = self._samples // self._batch_size
        if not self._num_workers:
            return self._read(*self._order[batch], batch)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._num_workers, thread_name_prefix="distill-data")
        while len(self._ahead) <= self._num_workers * BATCHES_AHEAD:
            later = batch + len(self._ahead)
            self._ahead.append(self._threads.submit(self._read, *self._order[later], later))
        return self._ahead.popleft().result()

    def _read(self, bucket: Bucket, indices: Sequence[int], batch: int) -> _Read:
        """Read this rank's share of a micro-batch, in any thread: it changes nothing of the stream."""
        bad: list[BadRow] = []
        first, own = batch * self._batch_size, range(self._first, self._first + self._share)
        rows = tuple(self._row(bucket, indices[place], first + place, bad) for place in own)
        if self._pin_memory:
            rows = tuple(map(_pinned, rows))
        return _Read(rows, bucket.latent_shape, tuple(bad))

    def _row(self, bucket: Bucket, index: int, sample: int, bad: list[BadRow]) -> Row:
        """The row of one sample, or one in its place; the bad ones that were met are added to ``bad``."""
        if self._quarantine is None:
            return self._source[index]
        for attempt in range(MOST_SUBSTITUTES):
            if index not in self._quarantine:
                try:
                    return self._source[index]
                except BadRowError as error:
                    bad.append(BadRow.of(index, error))
            others = bucket.alike(index) if attempt < MOST_SUBSTITUTES // 2 else bucket.rows
            index = int(others[key_bits(self._seed, "substitute", sample, attempt) % len(others)])
        raise DataError(
            f"no good row was found among {MOST_SUBSTITUTES} of latents [T, C, H, W] = {list(bucket.latent_shape)}; "
            "`distill data validate` lists the bad ones"
        )


def _pinned(row: Row) -> Row:
    """The same row in page-locked memory."""
    latent_CTHW = None if row.latent_CTHW is None else row.latent_CTHW.pin_memory()
    return replace(row, text_LD=row.text_LD.pin_memory(), latent_CTHW=latent_CTHW)
